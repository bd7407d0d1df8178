"""What the stand-in says: texts by topic and language, and the words by which it knows a topic. Called by assistant/answers.py.

The emoji are built of several code points on purpose: the deltas of a stream cut through them, as the real service's do.
"""

from __future__ import annotations

import re
from typing import Literal

Language = Literal["id", "en"]
Topic = Literal["identity", "tax", "stock", "price", "marketing", "books", "greeting", "other"]

TOPICS: tuple[tuple[Topic, re.Pattern[str]], ...] = (
    ("identity", re.compile(r"\b(siapa (kamu|anda|ini)|kamu siapa|anda siapa|who are you|are you (a |an |real))")),
    ("tax", re.compile(r"\b(pajak|pph|ppn|npwp|tax)")),
    ("stock", re.compile(r"\b(stok|persediaan|gudang|inventory|stock)")),
    ("price", re.compile(r"\b(harga|margin|diskon|price|pricing|discount)")),
    ("marketing", re.compile(r"\b(pemasaran|promosi|promo|iklan|pelanggan|jualan online|marketing|advert|customer)")),
    (
        "books",
        re.compile(r"\b(keuangan|pembukuan|arus kas|laba|rugi|modal|catat|bookkeeping|finance|cash ?flow|profit|accounting)"),
    ),
    ("greeting", re.compile(r"^\W*(hai|halo|hi|hello|hey|selamat|assalamu|good (morning|afternoon|evening))\b")),
)
"""The first that is found in the question counts, so that a greeting before a real question does not."""

ENGLISH = frozenset(
    re.findall(r"\w+", "the what how is are my i do does can should please who when where why of to for show and hello hi you")
)
INDONESIAN = frozenset(
    re.findall(r"\w+", "yang apa bagaimana saya berapa di untuk dan cara siapa kapan mana tolong bisa halo dengan itu ini")
)

QUOTED: dict[Language, str] = {"id": "Anda bertanya: “{}”. ", "en": "You asked: “{}”. "}
RECALLED: dict[Language, str] = {"id": "Sebelumnya ({}): {}. ", "en": "Earlier messages ({}): {}. "}
FOUND: dict[Language, str] = {"id": "Hasil {name}: {told}. ", "en": "Result of {name}: {told}. "}
ROWS: dict[Language, str] = {"id": "{count} catatan", "en": "{count} records"}
NO_ROWS: dict[Language, str] = {"id": "belum ada catatan", "en": "no records yet"}
AFTER_RESULT: dict[Language, str] = {
    "id": "Ada yang ingin Anda periksa lebih lanjut? 🙏🏽",
    "en": "Is there anything you would like to look into further? 🙏🏽",
}
REFUSED: dict[Language, str] = {"id": "Maaf, saya tidak dapat membantu soal itu.", "en": "I'm sorry, I can't help with that."}
UNTITLED: dict[Language, str] = {"id": "Percakapan baru", "en": "New conversation"}
FILLER = "Catat, hitung, lalu putuskan — usaha kecil tumbuh dari kebiasaan yang rapi 👩🏽‍💼. "
"""Makes a steered answer as long as its markers ask."""

ANSWERS: dict[Topic, dict[Language, str]] = {
    "identity": {
        "id": "Saya Ellara versi percobaan: peniru yang berjalan di mesin ini, bukan model bahasa sungguhan 🤖. Jawaban saya "
        "diambil dari beberapa contoh; pasang kunci OpenAI untuk jawaban yang sebenarnya.",
        "en": "I am a stand-in for Ellara's assistant: I run on this machine and am no real language model 🤖. My answers come "
        "from a few templates; set an OpenAI key to get real ones.",
    },
    "greeting": {
        "id": "Halo! 👋🏽 Saya Ellara versi percobaan: peniru di mesin ini, bukan model bahasa sungguhan. Silakan coba tanya "
        "tentang pembukuan, harga, pemasaran, stok, pajak, atau transaksi Anda.",
        "en": "Hello! 👋🏽 I am a stand-in for Ellara's assistant, running on this machine, no real language model. Try asking "
        "about bookkeeping, prices, marketing, stock, taxes or your transactions.",
    },
    "books": {
        "id": "Mulailah dari yang sederhana: pisahkan uang usaha dari uang pribadi, catat setiap pemasukan dan pengeluaran "
        "pada hari itu juga, lalu tutup buku seminggu sekali.\n\n1. Kas masuk: tunai, QR, transfer.\n2. Kas keluar: "
        "bahan, upah, sewa.\n3. Sisa kas harus sama dengan uang di laci dan di rekening.\n\nDari tiga angka itu Anda "
        "sudah bisa melihat laba kotor 📒.",
        "en": "Start simple: keep business money apart from your own, write down what comes in and goes out on the same day, "
        "and close the books once a week.\n\n1. Money in: cash, QR, transfers.\n2. Money out: supplies, wages, rent.\n3. "
        "What is left must match the till and the account.\n\nThose three figures already show your gross profit 📒.",
    },
    "price": {
        "id": "Hitung dulu biaya per porsi: bahan, kemasan, tenaga, dan bagian sewa. Lalu tambahkan margin, misalnya 30 %: "
        "biaya Rp10.000 menjadi harga sekitar Rp14.300. Bandingkan dengan tetangga, dan naikkan sedikit demi sedikit 🏷️.",
        "en": "Work out the cost of one portion first: ingredients, packaging, labour, a share of the rent. Then add your "
        "margin, say 30 %: a cost of Rp10,000 becomes a price of about Rp14,300. Compare with your neighbours, and raise "
        "in small steps 🏷️.",
    },
    "marketing": {
        "id": "Pilih satu saluran dan rawat baik-baik: foto produk di cahaya pagi, cerita singkat tentang pembuatnya, dan "
        "balasan cepat di WhatsApp. Ajak pelanggan lama lebih dulu — memberi mereka bonus kecil lebih murah daripada "
        "iklan 📣.",
        "en": "Choose one channel and look after it: product photos in morning light, a short story of who makes it, quick "
        "replies on WhatsApp. Invite former customers first — a small bonus for them costs less than advertising 📣.",
    },
    "stock": {
        "id": "Tandai barang yang paling sering laku, dan tentukan batas pesan ulang: penjualan per hari × lama kiriman + "
        "cadangan dua hari. Hitung fisik seminggu sekali; yang lama masuk, itu yang keluar lebih dulu 📦.",
        "en": "Mark what sells most, and set a reorder point: sales per day × days of delivery + two days in reserve. Count "
        "the shelves once a week; what came in first goes out first 📦.",
    },
    "tax": {
        "id": "Secara umum, usaha dengan omzet sampai Rp4,8 miliar setahun dapat memakai PPh final 0,5 %, dan bagi orang "
        "pribadi omzet sampai Rp500 juta setahun tidak dikenai. Simpan catatan omzet bulanan, dan pastikan ke kantor "
        "pajak karena aturan berubah 🧾.",
        "en": "In general, a business with a turnover of up to Rp4.8 billion a year may use the final income tax of 0.5 %, and "
        "a sole owner's first Rp500 million a year are free. Keep monthly turnover records, and ask the tax office: "
        "rules change 🧾.",
    },
    "other": {
        "id": "Pertanyaan yang baik! Coba uraikan menjadi langkah kecil: apa tujuan minggu ini, berapa biayanya, dan siapa "
        "yang mengerjakan. Mulai dari yang paling murah dicoba, lihat hasilnya, lalu perbaiki 👩🏽‍💼.",
        "en": "A good question! Try to cut it into small steps: what is this week's goal, what will it cost, and who does it. "
        "Begin with what is cheapest to try, look at the result, then improve 👩🏽‍💼.",
    },
}

ASKS_FOR: dict[str, tuple[str, ...]] = {
    "transaksi": (
        "transaksi",
        "transaction",
        "pembayaran",
        "payment",
        "penjualan",
        "omzet",
        "omset",
        "pemasukan",
        "sales",
        "revenue",
    ),
}
"""A word of a tool's name → the words in a question that ask for that tool, beside the word itself."""
