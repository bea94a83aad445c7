"""The tools for assistants, asked as the SDK's own client asks them."""
