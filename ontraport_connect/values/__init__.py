"""Values of settings, read as what they have to be, or refused in words that name the setting."""

from .reading import UNSTORABLE, UNUSABLE, choice, duration, flag, given, numbers, text, texts, unfit

__all__ = ["UNSTORABLE", "UNUSABLE", "choice", "duration", "flag", "given", "numbers", "text", "texts", "unfit"]
