"""Messages, notes and findings: between the hospital's systems and the appliance. Knows no models."""
