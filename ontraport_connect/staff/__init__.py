"""Tools for support staff and operators: admin actions, the dashboard, diagnosis, e-mail notices, key rotation."""

from .admin_actions import AccountActions, consequences
from .admin_filters import StateFilter, TenantFilter, people_matching, search_fields
from .background_jobs import TASK, QueueState, check_heartbeat, has_beat_entry, nobody_to_ask
from .change_notices import send_change_notices
from .dashboard import Chart, recent_failures, refresh_chart, site_health, tiles
from .database_check import require_database
from .diagnosis import NEED_TABLES, SUBJECTS, check_endpoints, check_standing
from .event_history import EventHistory, may_see_events
from .findings import Finding, Level, title_of
from .keeping_up import Thresholds, check_needs_reconnect, check_overdue, count_due, numbers
from .key_rotation import Summary, count_stored_rows, rotate_keys
from .monitoring_views import health, metrics
from .notice_rounds import send_notices
from .notices import send_due_notices
from .personal_data import export_person
from .retention import delete_old_rows
from .router_checks import check_routers
from .tallies import count_refreshes
from .time_limits import time_limit

__all__ = [
    "NEED_TABLES",
    "SUBJECTS",
    "TASK",
    "AccountActions",
    "Chart",
    "EventHistory",
    "Finding",
    "Level",
    "QueueState",
    "StateFilter",
    "Summary",
    "TenantFilter",
    "Thresholds",
    "check_endpoints",
    "check_heartbeat",
    "check_needs_reconnect",
    "check_overdue",
    "check_routers",
    "check_standing",
    "consequences",
    "count_due",
    "count_refreshes",
    "count_stored_rows",
    "delete_old_rows",
    "export_person",
    "has_beat_entry",
    "health",
    "may_see_events",
    "metrics",
    "nobody_to_ask",
    "numbers",
    "people_matching",
    "recent_failures",
    "refresh_chart",
    "require_database",
    "rotate_keys",
    "search_fields",
    "send_change_notices",
    "send_due_notices",
    "send_notices",
    "site_health",
    "tiles",
    "time_limit",
    "title_of",
]
