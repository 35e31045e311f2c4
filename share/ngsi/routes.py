"""Addresses of NGSI-LD: entities, one entity, types, and the @context."""

import dataclasses
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from share.asking import Store, both, credentials
from share.ngsi import asked as asking
from share.ngsi import entities, rows, temporal
from share.ngsi.models import DEVICE, MODELS_BY_NAME, Model, context, model_of
from share.problem import Problem
from share.settings import ShareSettings

_ROOT = "/ngsi-ld/v1"
_CONTEXT_PATH = f"{_ROOT}/jsonldContexts/cityfleet"
_REL = 'rel="http://www.w3.org/ns/json-ld#context"; type="application/ld+json"'


class NgsiLd:
    def __init__(self, settings: ShareSettings, store: Store) -> None:
        self._settings = settings
        self._store = store
        self._context = msgspec.json.encode(context())

    def routes(self) -> list[web.RouteDef]:
        found = [web.get(_CONTEXT_PATH, self._answer_context)]
        # The standard's own description of the interface has these with a slash, its text without.
        for slash in ("", "/"):
            found += [
                web.get(f"{_ROOT}/entities{slash}", self._entities),
                web.get(f"{_ROOT}/entities/{{id}}{slash}", self._entity),
                web.get(f"{_ROOT}/temporal/entities{slash}", self._histories),
                web.get(f"{_ROOT}/temporal/entities/{{id}}{slash}", self._history),
                web.get(f"{_ROOT}/types{slash}", self._types),
                web.get(f"{_ROOT}/types/{{type:[^/]+}}{slash}", self._type),
            ]
        return found

    def _base(self, request: web.Request) -> str:
        return self._settings.public_url.rstrip("/") or str(request.url.origin())

    async def _answer_context(self, request: web.Request) -> web.Response:
        """For everybody: whoever reads our JSON-LD has to resolve it, and it tells nothing of the city."""
        headers = {"Cache-Control": "public, max-age=86400"}
        return web.Response(body=self._context, content_type="application/ld+json", headers=headers)

    async def _entities(self, request: web.Request) -> web.Response:
        credentials(request)
        asked = asking.parse(request.query, list(request.query), self._settings.page, self._settings.max_page)
        found, total, after = await self.page(request, asked)
        made = []
        for model, devices in found:
            made += await self._made(request, model, devices, asked)
        return self.answer(request, made, self.page_headers(request, total, after))

    async def page(
        self, request: web.Request, asked: asking.Asked
    ) -> tuple[list[tuple[Model, list[int]]], int | None, str]:
        """Devices by type, the count if it was asked for, and where the next page begins or nothing."""
        (found, after), total = await both(self._page(request, asked), self._total(request, asked))
        return found, total, after

    async def _total(self, request: web.Request, asked: asking.Asked) -> int | None:
        if not asked.has_count:
            return None
        return sum([await rows.count(self._store, request, model, asked) for model in asked.models])

    async def _page(self, request: web.Request, asked: asking.Asked) -> tuple[list[tuple[Model, list[int]]], str]:
        found: list[tuple[Model, list[int]]] = []
        left, offset = asked.limit, asked.offset
        names = [model.name for model in asked.models]
        if asked.after and asked.after[0] not in names:
            raise Problem(400, "not of a link of this request", "after")
        models: Sequence[Model] = asked.models[names.index(asked.after[0]) if asked.after else 0 :] if left else ()
        for number, model in enumerate(models):
            behind = asked.after[1] if asked.after and number == 0 else -1
            if offset and len(models) > 1:
                there = await rows.count(self._store, request, model, asked)
                if there <= offset:
                    offset -= there
                    continue
            devices = await rows.numbers(self._store, request, model, asked, behind, left + 1, offset)
            offset = 0
            if len(devices) > left:
                found.append((model, devices[:left]))
                # Of a full page the last may be of the type before.
                last = next(one for one in reversed(found) if one[1])
                return found, f"{last[0].name}:{last[1][-1]}"
            found.append((model, devices))
            left -= len(devices)
        return found, ""

    async def _made(
        self, request: web.Request, model: Model, devices: list[int], asked: asking.Asked
    ) -> list[entities.Entity]:
        if not devices:
            return []
        facts, newest = await both(
            rows.facts(self._store, request, devices), rows.newest(self._store, request, model, devices)
        )
        if model is DEVICE:
            last, kinds = await both(rows.last_heard(self._store, request, devices), rows.kinds(self._store, request))
        else:
            stations = {row["labels"].get("station", "") for row in facts} if model.name == "FloodMonitoring" else set()
            levels = await rows.thresholds(self._store, request, stations - {""})
        made = []
        for row in facts:
            number = int(row["device_num"])
            if model is DEVICE:
                whole = entities.device(row, newest.get(number, {}), last.get(number), kinds.get(row["device_type"]))
            else:
                station = row["labels"].get("station", "")
                whole = entities.observed(model, row, newest.get(number, {}), levels.get(station, {}))
            times = (int(row["created_ms"]), int(row["updated_ms"])) if asked.has_sys else None
            made.append(entities.shown(whole, asked.attrs, asked.is_simple, times))
        return made

    async def _entity(self, request: web.Request) -> web.Response:
        credentials(request)
        query = request.query
        if wrong := [name for name in query if name not in ("attrs", "options", "format", "type")]:
            raise Problem(
                400, f"{wrong[0][:40]!r} is not offered; there are attrs, options, format, type", wrong[0][:40]
            )
        text = request.match_info["id"]
        asked = asking.parse({**query, "id": text}, [*query, "id"], 1, 1)
        found = asking.split_id(text)
        if found and asked.models:
            devices = await rows.numbers(self._store, request, found[0], asked, -1, 1, 0)
            if made := await self._made(request, found[0], devices, asked):
                return self.answer(request, made[0], CIMultiDict())
        raise Problem(404, f"there is no entity {text[:120]!r}")

    async def _histories(self, request: web.Request) -> web.Response:
        credentials(request)
        settings = self._settings
        span = temporal.span(request.query, settings.history_days, True)
        asked = asking.parse(
            request.query, list(request.query), settings.page, settings.max_page, temporal.PARAMETERS, temporal.OPTIONS
        )
        if any(model.named(term.attribute) for term in asked.terms for model in asked.models):
            raise Problem(400, "of histories only facts are compared, not what is measured", "q")
        limit = asked.limit if "limit" in request.query else None
        asked = dataclasses.replace(asked, limit=temporal.page(span, limit, settings.history_days, settings.page))
        found, total, after = await self.page(request, asked)
        made: list[entities.Entity] = []
        cut = None
        for model, devices in found:
            more, cut = await self._made_histories(request, model, devices, asked, span)
            made += more
            if cut is not None:
                break
        if cut is not None and len(found) > 1:
            raise Problem(403, "too many values for more than one type: ask for one", "type", "TooManyResults")
        headers = self.page_headers(request, total, after)
        if cut is not None:
            headers["Content-Range"] = temporal.content_range(span, cut)
        return self.answer(request, made, headers, 200 if cut is None else 206)

    async def _history(self, request: web.Request) -> web.Response:
        credentials(request)
        query = request.query
        known = ("attrs", "options", "format", "type", *temporal.PARAMETERS)
        if wrong := [name for name in query if name not in known]:
            raise Problem(400, f"{wrong[0][:40]!r} is not offered; there are {', '.join(known)}", wrong[0][:40])
        span = temporal.span(query, self._settings.history_days, False)
        text = request.match_info["id"]
        asked = asking.parse({**query, "id": text}, [*query, "id"], 1, 1, temporal.PARAMETERS, temporal.OPTIONS)
        found = asking.split_id(text)
        if found and asked.models:
            devices = await rows.numbers(self._store, request, found[0], asked, -1, 1, 0)
            made, cut = await self._made_histories(request, found[0], devices, asked, span)
            if made:
                headers: CIMultiDict[str] = CIMultiDict()
                if cut is not None:
                    headers["Content-Range"] = temporal.content_range(span, cut)
                return self.answer(request, made[0], headers, 200 if cut is None else 206)
        raise Problem(404, f"there is no entity {text[:120]!r}")

    async def _made_histories(
        self, request: web.Request, model: Model, devices: list[int], asked: asking.Asked, span: temporal.Span
    ) -> tuple[list[entities.Entity], int | None]:
        names = await rows.ids(self._store, request, devices)
        found, cut = await temporal.values(self._store, request, model, devices, asked.attrs, span)
        is_simple = asked.is_simple or "temporalValues" in asked.options
        made = []
        for number in devices:
            series = {one.name: found.get((number, one.name), []) for one in model.measured}
            made.append(temporal.entity(model, names[number], series, is_simple))
        return made, cut

    async def _types(self, request: web.Request) -> web.Response:
        credentials(request)
        there = await rows.models_there(self._store, request)
        base = self._base(request)
        if request.query.get("details", "false") == "true":
            many = [
                {
                    "id": MODELS_BY_NAME[name].iri,
                    "type": "EntityType",
                    "typeName": name,
                    "attributeNames": sorted(attributes),
                }
                for name, attributes in there.items()
            ]
            return self.answer(request, many, CIMultiDict())
        body = {"id": f"{base}{_ROOT}/types", "type": "EntityTypeList", "typeList": sorted(there)}
        return self.answer(request, body, CIMultiDict())

    async def _type(self, request: web.Request) -> web.Response:
        credentials(request)
        model = model_of(request.match_info["type"])
        there = await rows.models_there(self._store, request)
        if model is None or model.name not in there:
            raise Problem(404, f"there is no type {request.match_info['type'][:120]!r}")
        asked = asking.parse({"type": model.name}, ["type"], 1, 1)
        details = [
            {
                "id": name,
                "type": "Attribute",
                "attributeName": name,
                "attributeTypes": [_type_of(name)],
            }
            for name in there[model.name]
        ]
        body = {
            "id": model.iri,
            "type": "EntityTypeInfo",
            "typeName": model.name,
            "entityCount": await rows.count(self._store, request, model, asked),
            "attributeDetails": details,
        }
        return self.answer(request, body, CIMultiDict())

    def page_headers(self, request: web.Request, total: int | None, after: str) -> CIMultiDict[str]:
        headers: CIMultiDict[str] = CIMultiDict()
        if total is not None:
            headers["NGSILD-Results-Count"] = str(total)
        if after:
            kept = {name: value for name, value in request.query.items() if name not in ("offset", "after")}
            query = urlencode({**kept, "after": after}, quote_via=quote)
            headers.add("Link", f'<{self._base(request)}{request.path}?{query}>; rel="next"')
        return headers

    def answer(self, request: web.Request, body: Any, headers: CIMultiDict[str], status: int = 200) -> web.Response:
        """With the context in it when JSON-LD is asked for, else with a link to it."""
        ours = f"{self._base(request)}{_CONTEXT_PATH}"
        kind = "application/json"
        if "application/ld+json" in request.headers.get("Accept", ""):
            kind = "application/ld+json"
            for one in body if isinstance(body, list) else [body]:
                one["@context"] = [ours, entities.CORE]
        else:
            headers.add("Link", f"<{ours}>; {_REL}")
        # An answer is one account's.
        headers["Cache-Control"] = "private, no-store"
        return web.Response(body=msgspec.json.encode(body), status=status, content_type=kind, headers=headers)


def _type_of(name: str) -> str:
    if name == "location":
        return "GeoProperty"
    return "Relationship" if name in ("refDevice", "refRoadSegment", "gateway") else "Property"
