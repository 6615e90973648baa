"""Posts in other languages than English."""

from __future__ import annotations

import random

from tbcache.embedded.simulator.chatter import Stance

_TEXTS: dict[str, dict[Stance, tuple[str, ...]]] = {
    "es": {
        "bullish": ("${s} sube con fuerza, buena entrada", "Compré más ${s}, tendencia muy alcista"),
        "bearish": ("${s} cae otra vez, vendo todo", "Mal trimestre para ${s}, cuidado"),
        "neutral": ("¿Alguien sigue a ${s} hoy?", "${s} presenta resultados el jueves"),
    },
    "pt": {
        "bullish": ("${s} rompeu a resistência, alta pela frente", "Comprei mais ${s} hoje"),
        "bearish": ("${s} perdeu o suporte, vou vender", "Resultado fraco de ${s}"),
        "neutral": ("O que acham de ${s}?", "${s} de lado esta semana"),
    },
    "de": {
        "bullish": ("${s} bricht nach oben aus, stark", "Bei ${s} nachgekauft, Kursziel erhöht"),
        "bearish": ("${s} fällt weiter, ich bin raus", "Schwache Zahlen von ${s}, Gewinnwarnung droht"),
        "neutral": ("${s} legt am Donnerstag Zahlen vor", "Was macht ihr mit ${s}?"),
    },
    "fr": {
        "bullish": ("${s} repart à la hausse, belle configuration", "J'ai renforcé ${s}"),
        "bearish": ("${s} chute encore, je vends", "Résultats décevants pour ${s}"),
        "neutral": ("${s} publie jeudi", "Un avis sur ${s} ?"),
    },
    "ja": {
        "bullish": ("${s} 上昇トレンド継続、買い増した", "${s} 決算が良い、強気"),
        "bearish": ("${s} 下落が止まらない、売った", "${s} 決算が悪い、弱気"),
        "neutral": ("${s} の決算は木曜日", "${s} どう思いますか"),
    },
    "tr": {
        "bullish": ("${s} yükselişe geçti, aldım", "${s} çok güçlü görünüyor"),
        "bearish": ("${s} düşüyor, sattım", "${s} bilançosu zayıf"),
        "neutral": ("${s} bilançosu perşembe", "${s} hakkında ne düşünüyorsunuz?"),
    },
}
LANGUAGES = tuple(_TEXTS)


def post(dice: random.Random, language: str, view: Stance, symbol: str) -> str:
    """A short message with its cashtag, in ``language``."""
    return dice.choice(_TEXTS[language][view]).replace("{s}", symbol)
