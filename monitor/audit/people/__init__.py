"""What people do with history: who may, what they say of alerts, what they hold."""
