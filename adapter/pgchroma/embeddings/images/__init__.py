"""Images: loaded from files and URLs, and made arrays of pixels."""
