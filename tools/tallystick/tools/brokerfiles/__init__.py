"""Files for a site's own Mosquitto: its authority, its certificates, its configuration."""
