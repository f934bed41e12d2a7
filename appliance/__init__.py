"""The appliance: joins models and messages, and is the only part that knows both."""
