"""Invoices: an example of a package that adds task types to Headrace."""
