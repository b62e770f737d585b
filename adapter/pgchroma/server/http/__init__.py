"""The HTTP interface: the application, its middleware, handlers, errors and documentation pages."""
