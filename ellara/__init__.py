"""Ellara: the backend of a business assistant for Indonesian small merchants. See ARCHITECTURE.md for the rooms."""

__version__ = "0.1.0"
