"""What both ends of Clima share: the reading, the wire, identity, keys, configuration and errors.

The agent and the forwarder import this package and never each other.
"""

from importlib.metadata import version

__version__ = version("clima")
