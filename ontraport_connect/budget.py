"""Limit how long calls wait for their turn: ``with budget.patience(5): account.mcp(...)``."""

from .using import patience

__all__ = ["patience"]
