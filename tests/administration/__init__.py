"""Administration: rights, tenants, backups."""
