"""Images: load them from files and URLs, and convert them to arrays of pixels."""
