"""The clinic: patients, appointments, the notifications they get, and a status page."""
