"""Links between owners and Ontraport accounts: create them (OAuth or key pair), reconnect them, check key pairs, move and remove them."""

from .assigning import assign
from .attempts import Attempt, find_attempt, forget_attempts, forget_old_attempts
from .imported import learn_ids, without_id
from .key_checks import check_key_pair, check_key_pairs
from .key_pairs import link_key_pair
from .oauth_links import begin, complete
from .owner import Owner
from .permissions import MANAGE, PERMISSIONS, may, may_function
from .site_pages import beside
from .unlinking import unlink, unlink_tenant

__all__ = [
    "MANAGE",
    "PERMISSIONS",
    "Attempt",
    "Owner",
    "assign",
    "begin",
    "beside",
    "check_key_pair",
    "check_key_pairs",
    "complete",
    "find_attempt",
    "forget_attempts",
    "forget_old_attempts",
    "learn_ids",
    "link_key_pair",
    "may",
    "may_function",
    "unlink",
    "unlink_tenant",
    "without_id",
]
