"""Small re-parameterizable blocks, written from the papers' structure."""
