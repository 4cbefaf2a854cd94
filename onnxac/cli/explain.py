"""stub"""
def explain() -> None:
    """Stub."""
