"""The words of captions and their appearance; used by the icon reader, captions and compose.

The position of an entry in its mapping is its number in a `Layout`.
"""

SIDE = 64
"""Height and width of a picture in pixels."""

STYLES = {
    "noto": "noto",
    "noto-v1": "blob",
    "fluent-emoji-flat": "fluent",
    "twemoji": "twemoji",
    "fxemoji": "firefox",
}
"""Icon set (npm package `@iconify-json/<set>`) to the word for its style."""

COLOURS = {
    "white": (255, 255, 255),
    "red": (225, 60, 60),
    "orange": (245, 160, 60),
    "yellow": (250, 225, 90),
    "green": (90, 180, 90),
    "blue": (70, 120, 220),
    "purple": (150, 90, 200),
    "pink": (250, 170, 200),
    "gray": (150, 150, 150),
    "black": (25, 25, 25),
    "brown": (140, 95, 60),
}
"""Background colours as RGB in 0..255."""

HUES = {"red": 0, "orange": 30, "yellow": 52, "green": 120, "blue": 220, "purple": 275, "pink": 330}
"""Colours that a drawing can be given, as HSV hue in degrees."""

SCENES = {
    "beach": "on the beach",
    "grass": "in the grass",
    "snow": "in the snow",
    "night": "at night",
    "water": "under water",
    "desert": "in the desert",
}
"""Scene to its phrase."""

_NAMES_OF_CLASS = {
    "dog": "dog dog-face poodle guide-dog service-dog dogface",
    "cat": (
        "cat cat-face black-cat grinning-cat pouting-cat weary-cat crying-cat smiling-cat-with-heart-eyes "
        "cat-with-wry-smile kissing-cat catface"
    ),
    "bear": "bear panda polar-bear koala teddy-bear panda-face koala-face",
    "monkey": (
        "monkey monkey-face gorilla orangutan hear-no-evil-monkey see-no-evil-monkey speak-no-evil-monkey monkeyface"
    ),
    "pig": "pig pig-face boar pigface",
    "horse": "horse horse-face unicorn zebra carousel-horse horseface unicorn-face donkey moose",
    "cow": "cow cow-face ox water-buffalo bison cowface goat ram ewe",
    "mouse": "mouse mouse-face rat hamster chipmunk rabbit rabbit-face mouseface rabbitface",
    "bird": (
        "bird penguin chicken rooster baby-chick front-facing-baby-chick hatching-chick duck eagle owl parrot dove "
        "turkey swan flamingo peacock dodo goose black-bird phoenix babychick frontfacingbabychick hatchingchick"
    ),
    "fish": "fish tropical-fish blowfish shark dolphin whale spouting-whale tropicalfish spoutingwhale",
    "insect": (
        "bug ant honeybee beetle lady-beetle cricket butterfly mosquito fly worm spider snail caterpillar cockroach"
    ),
    "dragon": "dragon dragon-face t-rex sauropod crocodile lizard turtle snake frog dragonface",
    "flower": (
        "cherry-blossom rose hibiscus sunflower blossom tulip hyacinth lotus white-flower wilted-flower rosette "
        "bouquet cherryblossom"
    ),
    "tree": (
        "evergreen-tree deciduous-tree palm-tree cactus christmas-tree tanabata-tree potted-plant leafless-tree "
        "evergreentree deciduoustree palmtree christmastree"
    ),
    "fruit": (
        "grapes melon watermelon tangerine lemon lime banana pineapple mango red-apple green-apple pear peach "
        "cherries strawberry blueberries kiwi-fruit tomato coconut avocado redapple greenapple"
    ),
    "cake": (
        "birthday-cake shortcake cupcake pie moon-cake custard doughnut cookie pancakes waffle ice-cream "
        "soft-ice-cream shaved-ice birthdaycake softicecream icecream shavedice"
    ),
    "car": (
        "automobile sport-utility-vehicle oncoming-automobile taxi oncoming-taxi police-car oncoming-police-car "
        "racing-car pickup-truck recreationalvehicle oncomingautomobile oncomingtaxi policecar racingcar"
    ),
    "bus": "bus oncoming-bus trolleybus minibus tram-car tram oncomingbus",
    "truck": (
        "delivery-truck articulated-lorry fire-engine ambulance tractor deliverytruck articulatedlorry fireengine "
        "auto-rickshaw"
    ),
    "train": (
        "locomotive railway-car high-speed-train bullet-train train metro light-rail station monorail "
        "mountain-railway highspeedtrain bullettrain lightrail railwaycar"
    ),
    "boat": "sailboat canoe speedboat passenger-ship ferry motor-boat ship passengership motorboat",
    "airplane": "airplane small-airplane airplane-departure airplane-arrival helicopter rocket flying-saucer",
    "house": (
        "house house-with-garden derelict-house hut office-building japanese-post-office post-office hospital bank "
        "hotel convenience-store school department-store factory castle japanese-castle church mosque housewithgarden "
        "officebuilding"
    ),
    "shoe": (
        "mans-shoe running-shoe hiking-boot flat-shoe high-heeled-shoe womans-sandal womans-boot ballet-shoes "
        "roller-skate ice-skate thong-sandal"
    ),
    "bag": "handbag purse clutch-bag backpack luggage briefcase money-bag shopping-bags clutchbag moneybag",
    "hat": (
        "top-hat womans-hat billed-cap graduation-cap crown rescue-workers-helmet military-helmet tophat "
        "graduationcap womanshat"
    ),
    "shirt": (
        "t-shirt running-shirt womans-clothes coat dress jeans kimono shorts bikini lab-coat safety-vest sari necktie"
    ),
    "cup": (
        "teacup-without-handle hot-beverage cup-with-straw beer-mug sake wine-glass cocktail-glass tropical-drink "
        "tumbler-glass glass-of-milk bubble-tea baby-bottle beverage-box mate teapot hotbeverage"
    ),
    "clock": "watch alarm-clock stopwatch timer-clock mantelpiece-clock hourglass-done hourglass-not-done alarmclock",
    "phone": "mobile-phone telephone telephone-receiver pager fax-machine mobile-phone-with-arrow mobilephone",
    "camera": (
        "camera camera-with-flash video-camera movie-camera film-projector videocamera moviecamera television radio"
    ),
    "book": (
        "closed-book open-book green-book blue-book orange-book books notebook ledger notebook-with-decorative-cover "
        "bluebook greenbook orangebook closedbook"
    ),
    "ball": (
        "soccer-ball baseball softball basketball volleyball american-football rugby-football tennis bowling "
        "cricket-game pool-8-ball crystal-ball soccerball"
    ),
    "guitar": "guitar violin banjo saxophone trumpet accordion drum long-drum musical-keyboard",
    "lamp": "light-bulb flashlight candle red-paper-lantern diya-lamp jack-o-lantern lightbulb",
    "robot": "robot alien alien-monster ghost ogre goblin clown-face jack-o-lantern skull alienmonster",
}

CLASSES = tuple(_NAMES_OF_CLASS)
"""Classes that a caption can name instead of a drawing's own label."""

CLASS_OF_NAME = {name: kind for kind in reversed(CLASSES) for name in _NAMES_OF_CLASS[kind].split()}
"""Icon name to its class; a name listed under two classes belongs to the first, hence the reversal."""
