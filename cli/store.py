"""`cityfleet store`: the store role, its migrations, and what is in it."""

import asyncio
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.output import OutputFormat, OutputOption, show, show_document
from cli.role import run_role
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from store.client import open_client

app = typer.Typer(help="The store role; its migrations and what is in it.", invoke_without_command=True)
