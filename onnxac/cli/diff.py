"""stub"""
def diff() -> None:
    """Stub."""
