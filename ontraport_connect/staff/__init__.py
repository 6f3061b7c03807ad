"""Tools for support staff and operators: admin actions, the dashboard, diagnosis, e-mail notices, key rotation."""

from .admin_actions import AccountActions
from .admin_filters import ConditionFilter, TenantFilter, search_fields
from .bulk_operations import disconnect_accounts
from .dashboard import Chart, expiring_tokens, link_counts, recent_failures, site_health
from .database_check import require_database
from .diagnosis import NEED_TABLES, SUBJECTS, check_endpoints, check_standing
from .findings import Finding, Level, title_of
from .keeping_up import Thresholds, check_needs_reconnect, check_overdue, has_beat_entry, numbers
from .key_rotation import Summary, count_stored_rows, rotate_keys
from .monitoring_views import health, metrics
from .notices import send_due_notices
from .personal_data import export_person
from .retention import delete_old_rows

__all__ = [
    "NEED_TABLES",
    "SUBJECTS",
    "AccountActions",
    "Chart",
    "ConditionFilter",
    "Finding",
    "Level",
    "Summary",
    "TenantFilter",
    "Thresholds",
    "check_endpoints",
    "check_needs_reconnect",
    "check_overdue",
    "check_standing",
    "count_stored_rows",
    "delete_old_rows",
    "disconnect_accounts",
    "expiring_tokens",
    "export_person",
    "has_beat_entry",
    "health",
    "link_counts",
    "metrics",
    "numbers",
    "recent_failures",
    "require_database",
    "rotate_keys",
    "search_fields",
    "send_due_notices",
    "site_health",
    "title_of",
]
