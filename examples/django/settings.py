"""The settings of the site: as few as it needs."""

from __future__ import annotations

SECRET_KEY = "only-for-the-example"
ALLOWED_HOSTS = ["127.0.0.1", "testserver"]
ROOT_URLCONF = "shop.urls"
INSTALLED_APPS = ["shop"]
USE_TZ = True

TASKS = {"default": {"BACKEND": "headrace.django.HeadraceBackend", "OPTIONS": {"MAX_RETRIES": 2}}}
