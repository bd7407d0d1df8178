"""The dev chain for this room's tests."""

from tests.devchain import dev_chain, rpc

__all__ = ["dev_chain", "rpc"]
