"""`cityfleet store`: the store role, its schema and its state."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.errors import CommandError
from cli.output import OutputFormat, OutputOption, show, show_document
from cli.role import run_role
from cli.settings import ConfigOption, DataOption, Settings, load_settings
from cli.store_access import app as access_app
from cli.store_reference import app as reference_app
from cli.store_remote import RemoteStore, settings_of
from cli.store_rollup import app as rollup_app
from store import migrate as migrations
from store import reference_data, views

app = typer.Typer(help="Run the store, see its state, bring its schema up to date.")
app.add_typer(rollup_app, name="rollup")
app.add_typer(reference_app, name="reference")
app.add_typer(access_app, name="access")


@app.callback(invoke_without_command=True)
def root(context: typer.Context, config: ConfigOption = None, data: DataOption = None) -> None:
    """Run the store role: the embedded ClickHouse engine behind ClickHouse's HTTP interface.

    Pending migrations are applied at start. Stops cleanly on SIGTERM or Ctrl-C: running queries end first.

    Examples:
        cityfleet store --data /var/lib/cityfleet
        cityfleet store status
    """
    if context.invoked_subcommand is None:
        _run(load_settings(config, data))
    else:
        context.obj = (config, data)


@app.command()
def run(context: typer.Context, config: ConfigOption = None, data: DataOption = None) -> None:
    """Run the store role (the same as `cityfleet store`).

    Example:
        cityfleet store run --config /etc/cityfleet.toml
    """
    _run(settings_of(context, config, data))


@app.command()
def migrate(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be applied.")] = False,
    show_status: Annotated[bool, typer.Option("--status", help="Show what is applied and what is not.")] = False,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Apply pending migrations and the views that differ; the embedded store does so itself at every start.

    Examples:
        cityfleet store migrate --dry-run
        cityfleet store migrate --status
    """
    settings = settings_of(context, config, data)
    profile = settings.store.profile
    store = RemoteStore(settings)
    try:
        found = migrations.status(store.ask)
        current, changed = views.status(store.ask)
        if show_status:
            applied = [*map(_file, found.applied), *map(_file, current)]
            pending = [*map(_file, found.pending), *map(_file, changed)]
            rows = [{"file": file, "state": "applied"} for file in applied]
            rows += [{"file": file, "state": "pending"} for file in pending]
            show(rows, ["file", "state"], output, name="file")
            return
        if dry_run:
            for migration in found.pending:
                print(f"-- {migration.number:04} {migration.name}")
                print(";\n\n".join(migration.statements(profile)) + ";\n")
            for view in changed:
                print(f"-- {_file(view)}")
                print(";\n\n".join(migrations.statements(view.text, profile)) + ";\n")
        else:
            migrations.apply(
                store.ask,
                profile,
                on_applied=lambda migration: print(f"applied {migration.number:04} {migration.name}"),
            )
            changed = views.apply(store.ask, profile, on_applied=lambda view: print(f"applied {_file(view)}"))
            for table in reference_data.load_own(store.ask):
                print(f"loaded {table}")
    except migrations.MigrationError as exc:
        raise CommandError(str(exc)) from exc
    finally:
        store.close()
    if not found.pending and not changed:
        print("Nothing to apply: the schema is up to date.")


def _file(one: migrations.Migration | views.ViewFile) -> str:
    return f"ioc/{one.name}" if isinstance(one, views.ViewFile) else f"{one.number:04}_{one.name}"


@app.command()
def status(
    context: typer.Context,
    config: ConfigOption = None,
    data: DataOption = None,
    output: OutputOption = OutputFormat.TABLE,
) -> None:
    """Show whether the store answers, its migrations and its tables.

    Example: cityfleet store status -o json
    """
    settings = settings_of(context, config, data)
    store = RemoteStore(settings)
    try:
        version = store.ask("SELECT version()")
        try:
            found = migrations.status(store.ask)
        except migrations.MigrationError as exc:
            raise CommandError(str(exc)) from exc
        rows: list[Mapping[str, Any]] = []
        for line in store.ask(_TABLES).splitlines():
            name, table_rows, size, parts = line.split("\t")
            rows.append({"table": name, "rows": int(table_rows), "bytes": int(size), "active_parts": int(parts)})
    finally:
        store.close()
    applied = [f"{migration.number:04}_{migration.name}" for migration in found.applied]
    pending = [f"{migration.number:04}_{migration.name}" for migration in found.pending]
    if output in (OutputFormat.JSON, OutputFormat.YAML):
        document = {"url": store.url, "version": version, "applied": applied, "pending": pending, "tables": rows}
        show_document(document, output)
        return
    if output is OutputFormat.TABLE:
        print(
            f"store      {store.url}\nversion    {version}\nmigrations {len(applied)} applied, {len(pending)} pending\n"
        )
    show(rows, ["table", "rows", "bytes", "active_parts"], output, name="table")


_TABLES = (
    "SELECT t.name, sum(p.rows), sum(p.bytes_on_disk), countIf(p.active) FROM system.tables AS t "
    "LEFT JOIN (SELECT * FROM system.parts WHERE active) AS p ON p.database = t.database AND p.table = t.name "
    "WHERE t.database = 'cityfleet' AND t.engine LIKE '%MergeTree' GROUP BY t.name ORDER BY t.name"
)


def _run(settings: Settings) -> None:
    from store.app import run as run_store
    from store.embedded.engine import EngineLockedError
    from store.embedded.sandbox import SandboxError

    if settings.store.url:
        raise CommandError(
            f"store.url is set ({settings.store.url}): that server is the store, there is none to run here",
            remedy="remove store.url from the settings to run the embedded store",
        )
    try:
        run_role(
            "store",
            settings,
            lambda stop, on_listening: run_store(
                settings.store, settings.data_path, stop, on_listening, owns_process=True
            ),
        )
    except SandboxError as exc:
        raise CommandError(str(exc), remedy='set store.embedded.sandbox = "auto" to run without it') from exc
    except EngineLockedError as exc:
        raise CommandError(str(exc), remedy="stop that process, or use another folder with --data") from exc
    except migrations.MigrationError as exc:
        raise CommandError(str(exc)) from exc
