# Kept empty: importing one wire object must not load the others on a device.
