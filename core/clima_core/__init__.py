"""What both ends of Clima share: the reading, the wire, identity, keys, configuration and errors.

The agent and the forwarder import this package and never each other.
"""

__version__ = "0.1.0"  # as in pyproject.toml; to look it up takes 2 MB of the agent's 40
