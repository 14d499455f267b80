"""The gateway: takes custody of devices' records, and forwards them to validators."""
