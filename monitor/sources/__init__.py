"""Where scores come from when no tap can be placed: text read by a small encoder."""
