"""What calls over HTTP share: the client, and which hosts it may reach."""
