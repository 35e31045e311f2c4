"""The 126 wards of Hanoi with a rough point each, and the rivers with their gauging stations.

Codes and names come from the package vietnam-provinces. It has no coordinates, so a point is made here from the centre
of the district that the ward belonged to until 2025, which its code tells: right to some kilometres, enough for rain to
cross the city in one piece, and never to be used as a place on a map.
"""

import math
from bisect import bisect_right
from functools import cache
from typing import NamedTuple

from vietnam_provinces import ProvinceCode, VietNamDivisionType, Ward

CENTRE_LAT, CENTRE_LON = 21.028, 105.852  # Hoàn Kiếm lake
KM_PER_DEGREE_LAT = 111.2
KM_PER_DEGREE_LON = KM_PER_DEGREE_LAT * math.cos(math.radians(CENTRE_LAT))


class Spot(NamedTuple):
    """A ward: where it is, and kilometres east and north of the city's centre."""

    ward_code: str
    name: str
    is_urban: bool
    lat: float
    lon: float

    @property
    def x_km(self) -> float:
        return (self.lon - CENTRE_LON) * KM_PER_DEGREE_LON

    @property
    def y_km(self) -> float:
        return (self.lat - CENTRE_LAT) * KM_PER_DEGREE_LAT


class Gauge(NamedTuple):
    """A river station: usual level and alarm levels I to III in metres, where the city knows them."""

    slug: str
    river: str
    station: str
    lat: float
    lon: float
    usual_m: float
    alarms_m: tuple[float | None, float | None, float | None]


# First code of a former district, its centre and its radius in km. Wards are in the order of their codes within it.
_DISTRICTS = (
    (0, 21.036, 105.828, 1.6),  # Ba Đình
    (37, 21.031, 105.850, 0.9),  # Hoàn Kiếm
    (91, 21.068, 105.822, 2.6),  # Tây Hồ
    (116, 21.045, 105.900, 2.8),  # Long Biên
    (157, 21.032, 105.793, 1.8),  # Cầu Giấy
    (178, 21.016, 105.827, 1.6),  # Đống Đa
    (241, 21.009, 105.856, 1.5),  # Hai Bà Trưng
    (301, 20.976, 105.860, 3.0),  # Hoàng Mai
    (343, 20.995, 105.813, 1.5),  # Thanh Xuân
    (376, 21.268, 105.830, 7.0),  # Sóc Sơn
    (454, 21.140, 105.840, 5.5),  # Đông Anh
    (526, 21.020, 105.950, 5.5),  # Gia Lâm
    (592, 21.045, 105.762, 3.5),  # Nam and Bắc Từ Liêm
    (640, 20.935, 105.845, 3.8),  # Thanh Trì
    (4900, 20.985, 105.490, 3.0),  # Thạch Thất, the communes that came from Hòa Bình
    (8973, 21.180, 105.715, 5.0),  # Mê Linh
    (9530, 20.955, 105.768, 3.0),  # Hà Đông
    (9574, 21.120, 105.480, 4.0),  # Sơn Tây
    (9619, 21.160, 105.385, 9.0),  # Ba Vì
    (9712, 21.110, 105.575, 4.5),  # Phúc Thọ
    (9784, 21.105, 105.680, 3.5),  # Đan Phượng
    (9832, 21.020, 105.715, 4.0),  # Hoài Đức
    (9890, 20.990, 105.635, 5.0),  # Quốc Oai
    (9955, 21.035, 105.550, 5.0),  # Thạch Thất
    (10015, 20.890, 105.670, 6.5),  # Chương Mỹ
    (10114, 20.850, 105.780, 4.0),  # Thanh Oai
    (10183, 20.850, 105.870, 4.0),  # Thường Tín
    (10270, 20.740, 105.890, 5.0),  # Phú Xuyên
    (10354, 20.720, 105.800, 5.0),  # Ứng Hòa
    (10441, 20.690, 105.715, 7.0),  # Mỹ Đức
)

# Alarm levels: Decision 05/2020/QĐ-TTg where it names the station, else the city's regulation or its flood bulletins.
GAUGES = (
    Gauge("long-bien", "Hồng", "Long Biên", 21.043, 105.862, 4.2, (9.5, 10.5, 11.5)),
    Gauge("son-tay", "Hồng", "Sơn Tây", 21.152, 105.505, 6.6, (12.4, 13.4, 14.4)),
    Gauge("an-canh", "Hồng", "An Cảnh", 20.800, 105.930, 3.1, (7.2, 8.2, 9.1)),
    Gauge("trung-ha", "Đà", "Trung Hà", 21.235, 105.350, 9.3, (15.0, 16.0, 17.0)),
    Gauge("thuong-cat", "Đuống", "Thượng Cát", 21.070, 105.880, 4.0, (9.0, 10.0, 11.0)),
    Gauge("ba-tha", "Đáy", "Ba Thá", 20.795, 105.705, 2.6, (5.5, 6.5, 7.5)),
    Gauge("vinh-phuc", "Tích", "Vĩnh Phúc", 21.030, 105.580, 4.7, (None, 7.2, 8.0)),
    Gauge("yen-duyet", "Bùi", "Yên Duyệt", 20.850, 105.640, 4.1, (6.0, 6.5, None)),
    Gauge("luong-phuc", "Cầu", "Lương Phúc", 21.310, 105.880, 3.4, (6.0, None, None)),
    Gauge("manh-tan", "Cà Lồ", "Mạnh Tân", 21.190, 105.870, 3.6, (6.0, None, 8.0)),
)

# The city's own drainage rivers and lakes: lower, quicker to rise, without legal alarm levels.
CANALS = (
    Gauge("to-lich-nghia-do", "Tô Lịch", "Nghĩa Đô", 21.045, 105.803, 2.4, (None, None, None)),
    Gauge("to-lich-dau", "Tô Lịch", "Cầu Dậu", 20.975, 105.825, 2.1, (None, None, None)),
    Gauge("kim-nguu-lac-trung", "Kim Ngưu", "Lạc Trung", 21.003, 105.864, 2.2, (None, None, None)),
    Gauge("lu-dai-kim", "Lừ", "Đại Kim", 20.977, 105.835, 2.2, (None, None, None)),
    Gauge("set-giap-bat", "Sét", "Giáp Bát", 20.985, 105.843, 2.2, (None, None, None)),
    Gauge("nhue-ha-dong", "Nhuệ", "Hà Đông", 20.970, 105.770, 2.9, (None, None, None)),
    Gauge("nhue-dong-quan", "Nhuệ", "Đồng Quan", 20.780, 105.850, 2.5, (None, None, None)),
    Gauge("ho-tay", "Hồ Tây", "Thụy Khuê", 21.045, 105.823, 5.6, (None, None, None)),
    Gauge("yen-so", "Yên Sở", "Yên Sở", 20.967, 105.857, 2.5, (None, None, None)),
    Gauge("linh-dam", "Linh Đàm", "Hoàng Liệt", 20.965, 105.830, 3.2, (None, None, None)),
)


@cache
def wards() -> tuple[Spot, ...]:
    """All wards and communes of Hanoi, by code."""
    found = sorted(
        (ward for ward in Ward.iter_all() if ward.province_code == ProvinceCode.P_01), key=lambda ward: int(ward.code)
    )
    firsts = [district[0] for district in _DISTRICTS]
    members: dict[int, list[Ward]] = {}
    for ward in found:
        members.setdefault(bisect_right(firsts, int(ward.code)) - 1, []).append(ward)
    spots = []
    for district, inside in members.items():
        _, lat, lon, radius_km = _DISTRICTS[district]
        for number, ward in enumerate(inside):
            # A sunflower: every ward gets an equal share of the disc.
            distance_km = radius_km * math.sqrt((number + 0.5) / len(inside))
            angle = number * 2.399963
            spots.append(
                Spot(
                    f"{int(ward.code):05d}",
                    ward.name,
                    ward.division_type is VietNamDivisionType.PHUONG,
                    round(lat + distance_km * math.sin(angle) / KM_PER_DEGREE_LAT, 5),
                    round(lon + distance_km * math.cos(angle) / KM_PER_DEGREE_LON, 5),
                )
            )
    return tuple(spots)


def nearest_ward(lat: float, lon: float) -> Spot:
    """The ward whose rough point is closest."""
    return min(
        wards(),
        key=lambda spot: ((spot.lat - lat) * KM_PER_DEGREE_LAT) ** 2 + ((spot.lon - lon) * KM_PER_DEGREE_LON) ** 2,
    )
