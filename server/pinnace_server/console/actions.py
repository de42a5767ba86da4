"""What can be done in the console, and the API route that does the same: nothing needs a browser."""

from __future__ import annotations

from typing import Final

# Route of the console → method and path of the API.
API_OF_ACTION: Final = {
    "version_assign_post": ("post", "/api/v1/assignments"),
    "device_assign_post": ("post", "/api/v1/assignments"),
    "device_revert_post": ("post", "/api/v1/devices/{device}/models/{model}/revert"),
    "roll_back_post": ("post", "/api/v1/rollouts/{rollout}/rollback"),
    "rollout_begin_post": ("post", "/api/v1/rollouts"),
    "rollout_preview_post": ("post", "/api/v1/rollouts/preview"),
    "rollout_pause_post": ("post", "/api/v1/rollouts/{rollout}/pause"),
    "rollout_resume_post": ("post", "/api/v1/rollouts/{rollout}/resume"),
    "rollout_approve_post": ("post", "/api/v1/rollouts/{rollout}/approve"),
    "rollout_promote_post": ("post", "/api/v1/rollouts/{rollout}/promote"),
    "rollout_retry_post": ("post", "/api/v1/rollouts/{rollout}/retry"),
    "rollout_cancel_post": ("post", "/api/v1/rollouts/{rollout}/cancel"),
}
# These open and end a session of the browser; the API has none, each of its requests carries the token.
OF_THE_SESSION: Final = frozenset({"login_post", "logout"})
