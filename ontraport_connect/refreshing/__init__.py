"""Keep tokens fresh: claim a row, spend its refresh token once, save the answer, whatever else happens.

Also the site's standing with Ontraport (may it call the token endpoint now?) and the revocation of grants.
"""

from .batches import refresh_batch
from .circuit_breaker import MANY_ENDED, is_site_refused, may_refresh, site_standing
from .client_settings import endpoints, issuer, new_transport, oauth_client, route
from .deletions import queue_on_delete
from .due_accounts import BATCH_SIZE, due_batches
from .grants import from_now, grant_columns, require_storable
from .heartbeat import (
    Pulse,
    Signs,
    database_time,
    record_beat,
    record_command,
    record_worker,
    signs,
    standing_and_signs,
)
from .installation import COPIED, Adopted, adopt_database, is_own_database, marks_of, require_own_database, stored_mark
from .interruptions import is_interruption
from .link_states import LinkState, SitePause, link_conditions, link_state, site_pause
from .new_grants import wait_for_revocations
from .one_account import ensure_fresh, is_fresh, refresh, replace_refused
from .recovery import doubt, has_left, reconsider, recover_all, recover_left
from .revoking import (
    can_revoke,
    deliver_every_revocation,
    deliver_revocation,
    deliver_revocations,
    deliver_revocations_of,
    is_grant_shared,
    queue_revocation,
    revoke_grant,
)
from .row_locks import left_if_locked, unlocked
from .shared_grants import owner_key
from .strikes import RATE_LIMITED
from .telling import tell

__all__ = [
    "BATCH_SIZE",
    "COPIED",
    "MANY_ENDED",
    "RATE_LIMITED",
    "Adopted",
    "LinkState",
    "Pulse",
    "Signs",
    "SitePause",
    "adopt_database",
    "can_revoke",
    "database_time",
    "deliver_every_revocation",
    "deliver_revocation",
    "deliver_revocations",
    "deliver_revocations_of",
    "doubt",
    "due_batches",
    "endpoints",
    "ensure_fresh",
    "from_now",
    "grant_columns",
    "has_left",
    "is_fresh",
    "is_grant_shared",
    "is_interruption",
    "is_own_database",
    "is_site_refused",
    "issuer",
    "left_if_locked",
    "link_conditions",
    "link_state",
    "marks_of",
    "may_refresh",
    "new_transport",
    "oauth_client",
    "owner_key",
    "queue_on_delete",
    "queue_revocation",
    "reconsider",
    "record_beat",
    "record_command",
    "record_worker",
    "recover_all",
    "recover_left",
    "refresh",
    "refresh_batch",
    "replace_refused",
    "require_own_database",
    "require_storable",
    "revoke_grant",
    "route",
    "signs",
    "site_pause",
    "site_standing",
    "standing_and_signs",
    "stored_mark",
    "tell",
    "unlocked",
    "wait_for_revocations",
]
