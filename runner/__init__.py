"""labfleet: runs OMNeT++ simulation campaigns on the machines of a lab."""

__version__ = "0.1.0"
