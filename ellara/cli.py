"""`ellara serve | check | migrate`: reads the settings, runs the daemon, tells exit codes. The only place that prints."""

import click


@click.group()
def main() -> None:
    """Ellara: the backend of a business assistant for Indonesian small merchants."""
