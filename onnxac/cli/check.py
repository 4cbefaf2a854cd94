"""stub"""
def check() -> None:
    """Stub."""
