"""Addresses of SensorThings: the root, a set, an entity of it, and what an entity leads to."""

import re
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web

from share.asking import Row, Store, credentials
from share.problem import Problem
from share.settings import ShareSettings
from share.sta import observations, options
from share.sta.sets import SETS, Entity, EntitySet, Way

_PATH = re.compile(r"([A-Za-z]+)(?:\(([0-9]{1,15}|'[^']{1,60}')\)(?:/([A-Za-z]+))?)?")
_CONFORMANCE = "http://www.opengis.net/spec/iot_sensing/1.1/req"
_MAX_EXPANDED = 20_000
_LIMIT = "LIMIT {top:UInt32} OFFSET {skip:UInt32}"


class SensorThings:
    def __init__(self, settings: ShareSettings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/sta/v1.1", self._root),
            web.get("/sta/v1.1/", self._root),
            web.get("/sta/v1.1/{path:.+}", self._answer),
        ]

    def _base(self, request: web.Request) -> str:
        return f"{self._settings.public_url.rstrip('/') or request.url.origin()}/sta/v1.1"

    async def _root(self, request: web.Request) -> web.Response:
        credentials(request)
        base = self._base(request)
        return _json(
            {
                "value": [{"name": name, "url": f"{base}/{name}"} for name in (*SETS, "Observations")],
                "serverSettings": {
                    "conformance": [
                        f"{_CONFORMANCE}/{what}" for what in ("datamodel", "resource-path/resource-path-to-entities")
                    ]
                },
            }
        )

    async def _answer(self, request: web.Request) -> web.Response:
        credentials(request)
        path = request.match_info["path"].rstrip("/")
        found = _PATH.fullmatch(path)
        if not found or (found[1] not in SETS and found[1] != "Observations"):
            raise Problem(404, f"there is no {path[:60]!r}; the root lists the sets")
        asked = options.parse(request.query, list(request.query), self._settings.page, self._settings.max_page)
        name, key, onward = found.groups()
        if name == "Observations":
            return await self._observation(request, asked, key, onward)
        if key is None:
            return await self._page(request, SETS[name], asked, path)
        if not key.isdigit():
            raise Problem(404, f"there is no {path[:60]!r}: the ids of {name} are numbers")
        row = await self._row(request, SETS[name], int(key))
        if onward is None:
            return _json(_selected((await self._entities(request, SETS[name], [row], asked.expand))[0], asked))
        if name == "Datastreams" and onward == "Observations":
            return await self._history(request, int(key), asked, path)
        way = SETS[name].ways.get(onward)
        if way is None:
            raise Problem(404, f"{name} do not lead to {onward[:40]!r}")
        if not way.is_single:
            return await self._page(request, SETS[way.target], asked, path, way, int(row[way.here]))
        target = await self._row(request, SETS[way.target], int(row[way.here]))
        return _json(_selected((await self._entities(request, SETS[way.target], [target], asked.expand))[0], asked))

    async def _row(self, request: web.Request, entities: EntitySet, key: int) -> Row:
        rows = await self._store.rows(
            request, f"SELECT * FROM {entities.source} WHERE key = {{key:UInt64}} LIMIT 1", {"key": key}
        )
        if not rows:
            raise Problem(404, f"there is no {entities.name}({key})")
        return rows[0]

    async def _page(
        self,
        request: web.Request,
        entities: EntitySet,
        asked: options.Options,
        path: str,
        way: Way | None = None,
        parent: int = 0,
    ) -> web.Response:
        values: dict[str, str | int | float] = {}
        where = []
        if way is not None:
            where.append(f"{way.there} = {{parent:UInt64}}")
            values["parent"] = parent
        for number, term in enumerate(asked.terms):
            field = entities.fields.get(term.field)
            if field is None:
                raise Problem(400, f"{term.field[:40]!r}: there are {', '.join(entities.fields)}", "$filter")
            if field.type == "Int64" and not re.fullmatch(r"[0-9]{1,15}", term.value):
                raise Problem(400, f"{term.field} is a number", "$filter")
            where.append(f"{field.column} {term.op} {{v{number}:{field.type}}}")
            values[f"v{number}"] = term.value
        if asked.order not in ("", "id", "@iot.id"):
            raise Problem(400, f"{entities.name} come by id, asc or desc", "$orderby")
        body: dict[str, Any] = {}
        if asked.count:
            counted = await self._store.rows(
                request, f"SELECT count() AS n FROM {entities.source}{_where(where)}", values
            )
            body["@iot.count"] = int(counted[0]["n"])
        if asked.token:
            if not re.fullmatch(r"[0-9]{1,15}", asked.token):
                raise Problem(400, "not a token of ours", "$skiptoken")
            where.append(f"key {'<' if asked.is_descending else '>'} {{token:UInt64}}")
            values["token"] = asked.token
        values |= {"top": asked.top + 1, "skip": asked.skip}
        direction = "DESC" if asked.is_descending else "ASC"
        sql = f"SELECT * FROM {entities.source}{_where(where)} ORDER BY key {direction} {_LIMIT}"
        rows = await self._store.rows(request, sql, values)
        shown = rows[: asked.top]
        if len(rows) > asked.top and shown:
            body["@iot.nextLink"] = self._next(request, path, str(shown[-1]["key"]))
        made = await self._entities(request, entities, shown, asked.expand)
        body["value"] = [_selected(entity, asked) for entity in made]
        return _json(body)

    async def _entities(
        self, request: web.Request, entities: EntitySet, rows: list[Row], expand: tuple[str, ...]
    ) -> list[Entity]:
        base = self._base(request)
        made: list[Entity] = []
        for row in rows:
            link = f"{base}/{entities.name}({row['key']})"
            onward = [*entities.ways, *(["Observations"] if entities.name == "Datastreams" else [])]
            links = {f"{name}@iot.navigationLink": f"{link}/{name}" for name in onward}
            made.append({"@iot.id": int(row["key"]), "@iot.selfLink": link, **entities.make(row), **links})
        for name in expand:
            if entities.name == "Datastreams" and options.LATEST.fullmatch(name):
                newest = await observations.latest(self._store, request, [int(row["key"]) for row in rows])
                for entity in made:
                    stream = entity["@iot.id"]
                    entity["Observations"] = [self._observed(base, stream, newest[stream])] if stream in newest else []
                continue
            way = entities.ways.get(name)
            if way is None:
                more = ", Observations($top=1;$orderby=phenomenonTime desc)" if entities.name == "Datastreams" else ""
                raise Problem(400, f"{entities.name} expand one level: {', '.join(entities.ways)}{more}", "$expand")
            await self._expand(request, made, rows, name, way)
        return made

    async def _expand(self, request: web.Request, made: list[Entity], rows: list[Row], name: str, way: Way) -> None:
        target = SETS[way.target]
        keys = sorted({int(row[way.here]) for row in rows})
        where = f"WHERE {way.there} IN {{keys:Array(UInt64)}}"
        sql = f"SELECT * FROM {target.source} {where} ORDER BY key LIMIT {_MAX_EXPANDED + 1}"
        found = await self._store.rows(request, sql, {"keys": f"[{','.join(map(str, keys))}]"}) if keys else []
        if len(found) > _MAX_EXPANDED:
            raise Problem(
                400, f"{name} of so many would be more than {_MAX_EXPANDED}: follow the link of one", "$expand"
            )
        by_parent: dict[int, list[Entity]] = {}
        for row, entity in zip(found, await self._entities(request, target, found, ()), strict=True):
            by_parent.setdefault(int(row[way.there]), []).append(entity)
        for row, entity in zip(rows, made, strict=True):
            of_it = by_parent.get(int(row[way.here]), [])
            entity[name] = (of_it[0] if of_it else None) if way.is_single else of_it

    async def _observation(
        self, request: web.Request, asked: options.Options, key: str | None, onward: str | None
    ) -> web.Response:
        if key is None:
            named = [
                term.value
                for term in asked.terms
                if term.field in ("Datastream/id", "Datastream/@iot.id") and term.op == "="
            ]
            if len(named) != 1 or not re.fullmatch(r"[0-9]{1,15}", named[0]):
                raise Problem(
                    400,
                    "name one Datastream: `Datastream/id eq 65537`, or ask Datastreams(65537)/Observations",
                    "$filter",
                )
            return await self._history(request, int(named[0]), asked, "Observations")
        stream, row = await observations.one(self._store, request, key.strip("'"))
        if onward is None:
            return _json(_selected(self._observed(self._base(request), stream, row), asked))
        targets = {"Datastream": ("Datastreams", stream), "FeatureOfInterest": ("FeaturesOfInterest", stream >> 16)}
        if onward not in targets:
            raise Problem(404, f"Observations do not lead to {onward[:40]!r}")
        name, number = targets[onward]
        rows = [await self._row(request, SETS[name], number)]
        return _json(_selected((await self._entities(request, SETS[name], rows, asked.expand))[0], asked))

    async def _history(self, request: web.Request, stream: int, asked: options.Options, path: str) -> web.Response:
        if asked.expand:
            raise Problem(400, "Observations of one Datastream have nothing to expand: ask for it itself", "$expand")
        rows, count, token = await observations.page(self._store, request, stream, asked, self._settings.history_days)
        base = self._base(request)
        body: dict[str, Any] = {} if count is None else {"@iot.count": count}
        if token:
            body["@iot.nextLink"] = self._next(request, path, token)
        body["value"] = [_selected(self._observed(base, stream, row), asked) for row in rows]
        return _json(body)

    def _observed(self, base: str, stream: int, row: Row) -> Entity:
        made = observations.entity(stream, row)
        link = f"{base}/Observations('{made['@iot.id']}')"
        onward = {f"{name}@iot.navigationLink": f"{link}/{name}" for name in ("Datastream", "FeatureOfInterest")}
        return {**made, "@iot.selfLink": link, **onward}

    def _next(self, request: web.Request, path: str, token: str) -> str:
        """The same request, behind the last of this page."""
        kept = {name: value for name, value in request.query.items() if name not in ("$skip", "$skiptoken")}
        query = urlencode({**kept, "$skiptoken": token}, safe="$", quote_via=quote)
        return f"{self._base(request)}/{quote(path, safe='/()')}?{query}"


def _where(conditions: list[str]) -> str:
    return " WHERE " + " AND ".join(conditions) if conditions else ""


def _selected(entity: Entity, asked: options.Options) -> Entity:
    if not asked.select:
        return entity
    kept = {("@iot.id" if name == "id" else name) for name in asked.select}
    if unknown := kept - entity.keys():
        raise Problem(400, f"there is no {sorted(unknown)[0][:40]!r}", "$select")
    return {name: value for name, value in entity.items() if name in kept}


def _json(body: Any) -> web.Response:
    # An answer is one account's.
    return web.Response(
        body=msgspec.json.encode(body), content_type="application/json", headers={"Cache-Control": "private, no-store"}
    )
