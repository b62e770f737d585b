"""What is saved of a damaged directory at least, where that is not everything."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Saved:
    """How many vectors are right, and how many of the rest are lost or wrong.

    Attributes:
        right: Vectors that are those that were given, or what Chroma made of them.
        lost_records: Records that are missing.
        documents: Documents that are missing or wrong; `uris` and `metadatas` likewise.
        extra: Records that were deleted and are back.
        wrong: Vectors that are wrong without a mark.
    """

    right: int
    lost_records: int = 0
    documents: int = 0
    uris: int = 0
    metadatas: int = 0
    extra: int = 0
    wrong: int = 0


SAVED: dict[str, dict[str, Saved]] = {
    "sqlite-cut-90": {
        "0.4.3": Saved(690, extra=51),
        "0.5.5": Saved(708, extra=89),
        "0.6.3": Saved(708),
        "0.5.23+1.0.20": Saved(759, documents=31, metadatas=38, extra=4),
        "1.0.20": Saved(789, metadatas=61),
        "1.5.9": Saved(791, metadatas=61),
    },
    "sqlite-cut-50": {
        "0.4.3": Saved(506, lost_records=65, documents=180, metadatas=178, extra=116),
        "0.4.24": Saved(551, lost_records=116, documents=143, metadatas=143, extra=114),
        "0.5.5": Saved(505, lost_records=82, documents=140, uris=7, metadatas=182, extra=105),
        "0.6.3": Saved(524, lost_records=67, documents=239, metadatas=245, extra=34),
        "0.5.23+1.0.20": Saved(617, lost_records=63, documents=343, metadatas=349, extra=38),
        "1.0.20": Saved(650, lost_records=74, documents=316, uris=12, metadatas=343, extra=17),
        "1.5.9": Saved(651, lost_records=74, documents=314, uris=12, metadatas=328, extra=18),
    },
    "sqlite-empty": {
        "0.4.3": Saved(358, lost_records=308, documents=294, metadatas=294, extra=118),
        "0.4.24": Saved(358, lost_records=338, documents=294, metadatas=294, extra=118),
        "0.5.5": Saved(358, lost_records=338, documents=294, metadatas=294, extra=118),
        "0.6.3": Saved(358, lost_records=338, documents=294, metadatas=294, extra=38),
        "0.5.23+1.0.20": Saved(575, lost_records=197, documents=505, metadatas=505, extra=38),
        "1.0.20": Saved(516, lost_records=270, documents=434, metadatas=434, extra=20),
        "1.5.9": Saved(516, lost_records=272, documents=434, metadatas=434, extra=20),
    },
    "sqlite-missing": {
        "0.4.3": Saved(358, lost_records=308, documents=294, metadatas=294, extra=118),
        "0.4.24": Saved(358, lost_records=338, documents=294, metadatas=294, extra=118),
        "0.5.5": Saved(358, lost_records=338, documents=294, metadatas=294, extra=118),
        "0.6.3": Saved(358, lost_records=338, documents=294, metadatas=294, extra=38),
        "0.5.23+1.0.20": Saved(575, lost_records=197, documents=505, metadatas=505, extra=38),
        "1.0.20": Saved(516, lost_records=270, documents=434, metadatas=434, extra=20),
        "1.5.9": Saved(516, lost_records=272, documents=434, metadatas=434, extra=20),
    },
    "sqlite-random-pages": {
        "0.4.3": Saved(677),
        "0.6.3": Saved(692, metadatas=8),
        "0.5.23+1.0.20": Saved(762, metadatas=8),
        "1.0.20": Saved(796),
        "1.5.9": Saved(806, metadatas=1, extra=14),
    },
    "sqlite-metadata-leaf": {
        "0.6.3": Saved(720, metadatas=15),
        "0.5.23+1.0.20": Saved(790, metadatas=27),
        "1.0.20": Saved(810, metadatas=20),
        "1.5.9": Saved(812, metadatas=24),
    },
    "sqlite-queue-leaf": {
        "0.4.3": Saved(664, documents=8, metadatas=6, extra=2),
        "0.4.24": Saved(700, metadatas=2),
        "0.5.5": Saved(700, metadatas=2),
        "0.6.3": Saved(706),
        "0.5.23+1.0.20": Saved(776),
        "1.0.20": Saved(788, documents=5, metadatas=3),
        "1.5.9": Saved(789, documents=6, metadatas=4),
    },
    "no-level0": {
        "0.6.3": Saved(365),
        "0.5.23+1.0.20": Saved(218),
        "1.0.20": Saved(299),
        "1.5.9": Saved(301),
    },
    "level0-cut": {
        "0.6.3": Saved(569),
        "0.5.23+1.0.20": Saved(547),
        "1.0.20": Saved(595),
        "1.5.9": Saved(600),
    },
    "level0-flip": {
        "0.6.3": Saved(685, wrong=14),
        "0.5.23+1.0.20": Saved(757, wrong=13),
        "1.0.20": Saved(764, wrong=15),
        "1.5.9": Saved(766, wrong=14),
    },
    "no-length": {
        "0.6.3": Saved(631),
        "0.5.23+1.0.20": Saved(609),
        "1.0.20": Saved(622),
        "1.5.9": Saved(624),
    },
    "no-pickle": {
        "0.6.3": Saved(365),
        "0.5.23+1.0.20": Saved(218),
    },
    "pickle-empty": {
        "0.6.3": Saved(365),
        "0.5.23+1.0.20": Saved(218),
    },
    "pickle-cut": {
        "0.6.3": Saved(536),
        "0.5.23+1.0.20": Saved(593),
    },
    "pickle-flip": {
        "0.6.3": Saved(623),
        "0.5.23+1.0.20": Saved(733),
    },
    "pickle-foreign-only": {
        "0.6.3": Saved(365),
        "0.5.23+1.0.20": Saved(218),
    },
    "no-segment-dir": {
        "0.6.3": Saved(542),
        "0.5.23+1.0.20": Saved(488),
        "1.0.20": Saved(701),
        "1.5.9": Saved(703),
    },
    "half-copied": {
        "0.6.3": Saved(454),
        "0.5.23+1.0.20": Saved(306),
        "1.0.20": Saved(517),
        "1.5.9": Saved(410),
    },
    "queue-emptied": {
        "0.4.3": Saved(358),
        "0.4.24": Saved(358),
        "0.5.5": Saved(358),
        "0.6.3": Saved(358),
        "0.5.23+1.0.20": Saved(575),
        "1.0.20": Saved(516),
        "1.5.9": Saved(516),
    },
    "queue-trimmed-no-pickle": {
        "0.4.3": Saved(332),
        "0.4.24": Saved(362),
        "0.5.5": Saved(362),
        "0.6.3": Saved(362),
        "0.5.23+1.0.20": Saved(215),
        "1.0.20": Saved(704),
        "1.5.9": Saved(706),
    },
    "queue-trimmed-pickle-cut": {
        "0.4.3": Saved(497),
        "0.4.24": Saved(526),
        "0.5.5": Saved(511),
        "0.6.3": Saved(533),
        "0.5.23+1.0.20": Saved(592),
    },
    "wal-deleted": {
        "0.4.24": Saved(705),
        "0.5.5": Saved(705),
        "0.6.3": Saved(705),
        "0.5.23+1.0.20": Saved(777),
        "1.0.20": Saved(795),
        "1.5.9": Saved(797),
    },
    "dimension-mixed": {
        "0.4.3": Saved(690, extra=1),
        "0.4.24": Saved(720, extra=1),
        "0.5.5": Saved(720, extra=1),
        "0.6.3": Saved(720, extra=1),
        "0.5.23+1.0.20": Saved(790, extra=1),
        "1.0.20": Saved(810, extra=1),
        "1.5.9": Saved(812, extra=1),
    },
}
