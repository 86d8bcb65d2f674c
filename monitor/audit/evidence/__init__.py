"""What an alert was decided on: the encrypted body, and the record decided again."""
