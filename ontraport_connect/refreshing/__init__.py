"""Keep tokens fresh: claim a row, spend its refresh token once, save the answer, whatever else happens.

Also the site's standing with Ontraport (may it call the token endpoint now?) and the revocation of grants.
"""

from .batches import BATCH_SIZE, due_batches, refresh_batch
from .circuit_breaker import RATE_LIMITED, is_site_refused, may_refresh, site_standing
from .client_settings import endpoints, new_transport, oauth_client
from .heartbeat import Pulse, pulses, record_beat, record_worker
from .installation import COPIED, Adopted, adopt_database, is_own_database, marks_of, require_own_database, stored_mark
from .one_account import ensure_fresh, refresh
from .outcomes import from_now, grant_columns
from .revoking import deliver_revocation, deliver_revocations, queue_revocation, revoke_grant

__all__ = [
    "BATCH_SIZE",
    "COPIED",
    "RATE_LIMITED",
    "Adopted",
    "Pulse",
    "adopt_database",
    "deliver_revocation",
    "deliver_revocations",
    "due_batches",
    "endpoints",
    "ensure_fresh",
    "from_now",
    "grant_columns",
    "is_own_database",
    "is_site_refused",
    "marks_of",
    "may_refresh",
    "new_transport",
    "oauth_client",
    "pulses",
    "queue_revocation",
    "record_beat",
    "record_worker",
    "refresh",
    "refresh_batch",
    "require_own_database",
    "revoke_grant",
    "site_standing",
    "stored_mark",
]
