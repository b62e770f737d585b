"""The façade users see: clients and collections, synchronous and asynchronous."""
