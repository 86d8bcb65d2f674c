"""History over HTTP: the API, and the pages that people work in."""
