"""Link each customer's Ontraport account to a Django site, and keep the link alive, safe and usable."""

__version__ = "0.1.0"
