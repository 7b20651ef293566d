"""A sentence or two in each of the model's 24 languages, with what is hard about each."""

from __future__ import annotations

SENTENCES = {
    "English": "Don't panic: the harbour master's log says 12,345.67 tonnes came in on 3 May.",
    "French": "L'été dernier, où étiez-vous ? « Chez ma sœur », répondit-il, déçu, à 18 h 30.",
    "German": "Die Straßenbahn fährt über Köln; Größe, Maß und Übermut — alles groß geschrieben.",
    "Spanish": "¿Cuándo llegará el ñandú? ¡Mañana, si no hay niebla en la sierra de Guadarrama!",
    "Portuguese": "Não há pão na padaria; a avó e o avô foram à praça comprar maçãs e limões.",
    "Italian": "Perché la città è così quieta? C'è nebbia, e l'acqua è già più alta di un metro.",
    "Japanese": "東京タワーは高さ333メートルです。「カメラ」を持って、明日また来ませんか？",
    "Korean": "서울의 겨울은 춥지만, 눈 덮인 궁궐은 아름답습니다. 내일 몇 시에 만날까요?",
    "Russian": "Съешь же ещё этих мягких французских булок, да выпей чаю: объём — 250 мл.",
    "Chinese": "春天来了，万物复苏。「你好吗？」他问。价格是￥1,234.50，对吧？",
    "Arabic": "اَلْعَرَبِيَّةُ لُغَةٌ جَمِيلَةٌ، وعدد الكتب ١٢٣ كتابًا في المكتبة؟",
    "Persian": "می‌خواهم فردا به کتاب‌خانه بروم؛ ساعت ۱۴:۳۰ است و هوا خوب است.",
    "Indonesian": "Anak-anak itu bermain di pantai, lalu pulang sebelum matahari terbenam.",
    "Malay": "Kucing-kucing itu tidur di bawah meja; hujan lebat turun sejak pagi tadi.",
    "Nepali": "नेपालको राजधानी काठमाडौँ हो। म हरेक बिहान चिया पिउँछु र हिँड्छु।",
    "Polish": "Zażółć gęślą jaźń: w Szczebrzeszynie chrząszcz brzmi w trzcinie, źdźbło też.",
    "Romanian": "Țara mea are munți înalți și ape repezi; știți când înfloresc cireșii în mai?",
    "Serbian": "Љубазни фењерџија чађавог лица хоће да ми покаже штос. Ljubav i čežnja.",
    "Swedish": "Åtta älgar gick över ån på hösten; flygande bäckasiner söka hwila på tuvor.",
    "Turkish": "İstanbul'da ılık bir sabah: şişli köftecisi çığlık çığlığa güldü, öğle oldu.",
    "Ukrainian": "Щастям б'ється жук їжака: ґанок, п'ять євро й об'єднання українців.",
    "Vietnamese": "Tiếng Việt có sáu thanh điệu: ngang, huyền, sắc, hỏi, ngã và nặng.",
    "Hindi": "हिन्दी में लिखना आसान है: क्या आप कल दिल्ली आएँगे? ज़रूर, मैं पहुँचूँगा।",
    "Bengali": "বাংলাদেশের রাজধানী ঢাকা। আমি প্রতিদিন সকালে চা খাই, তুমি কী খাও?",
}
# Sequences that a tokenizer or a stream may tear.
HARD = {
    "emoji of one family": "👩‍👩‍👧‍👦 and 👨🏽‍🚀, 🏳️‍🌈 🇫🇷🇩🇪 ❤️‍🔥 1️⃣",
    "combining marks": "e\u0301a\u0308o\u0302\u0323 n\u0303, Z͑ͫ̓a̴l̷g̶o̸, क\u093fत\u093eब",
    "direction marks": "\u202bעברית\u202c and \u200farabic\u200e",
    "white space": " a  b\t\tc \n\n d\r\n\u00a0e\u3000f\u2003",
    "old scripts": "𐌰𐌱𐌲 𒀀𒁀 𝒳𝓎𝓏 𝟙𝟚𝟛",
    "bytes apart": "\u0000\u0001\u001b[0m\u007f\u0085\ufeff\ufffd",
    "digits": "٠١٢٣ ०१२३ ১২৩ ½ ² Ⅷ ①",
}
