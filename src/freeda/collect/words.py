"""Word lists that mend a small tagger's systematic mistakes on captions, and say which nouns can be drawn.

They were written by looking at what TextBlob's PatternTagger makes of COCO's captions; each list is data, the
rules that use it are in `tagging.py` and `nouns.py`.
"""

from __future__ import annotations


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _groups(words: str) -> frozenset[str]:
    return frozenset(" ".join(group.split()) for group in words.split(","))


def _pairs(words: str) -> dict[str, str]:
    return {a: b for a, _, b in (pair.partition(":") for pair in words.split())}


COLOURS = _set("""
    red orange yellow green blue purple violet pink brown black white grey gray silver gold golden beige tan
    teal turquoise cyan magenta maroon crimson scarlet navy indigo olive ivory cream lavender lime amber
    bronze
""")
"""Never a noun before a noun; the fruit in FINAL_NOUNS are nouns elsewhere."""

NOT_OBJECTS = _set("""
    group front side top bottom couple picture photo photograph image view bunch lot middle piece background
    foreground day daytime way number variety row pair type kind style time something someone somebody
    anything anyone everything everyone nothing nobody one edge end center centre distance scene half set
    part collection assortment use action fun color colour shape size direction position place thing stuff
    others other herd flock slice pile stack work life hit close-up closeup shot rest back portrait selfie
    spot area left right bit sort amount range series selection array display case point front-view section
    sight rear inside outside outdoors indoors outdoor indoor midair mid-air next past while motion speed
    look self purpose feature trick stunt pose item object design pattern version example arrangement
    cluster line batch load ton dozen hundred thousand total story stories manner means addition reason
    attempt process progress else st t s v x etc am pm ii iii circa nearby today tonight length height depth
    level angle turn act event fashion state condition form order lots ground-level ride jump swing kick
    walk run trip travel nap love care attention conversation discussion talk fight help idea interest need
    course year month week hour minute second moment season age sense sound effect feeling name word kinds
    eith ith wit hon witha thru mini multi semi para dusk dawn noon volley mid air relief sale
""")
"""Nouns of composition, amount, time and deed: nothing in a picture that a mask could cover."""

GAMES = _set("""
    tennis soccer hockey rugby cricket golf polo badminton lacrosse softball doubles singles mens womens
""")
"""Games by name, and what is said with them: nothing to cover by themselves, nor together ("mens doubles").
Baseball, basketball, football and volleyball are balls, too.
"""

CONTESTS = _set("""
    game match tournament competition contest race championship marathon
""")
"""Heads of compounds that are events, whatever stands before ("baseball game", "horse race")."""

SHOWN_GAMES = _set("""
    video board card arcade computer
""")
"""Games of these are things: "video game", "board game"."""

ALWAYS_NOUNS = _set("""
    bear bears sink sinks monitor monitors curb curbs tracks moped mopeds sled sleds urinal urinals net nets
    platter platters ostrich ostriches cherry cherries t-shirt t-shirts tee-shirt rose roses coral blossom
    blossoms leaf moth moths parasol parasols toadstool toadstools sundown pepperoni hydrant hydrants
    counter-top counter-tops fire-hydrant four-wheelers stop-sign stop-light hot-dog hot-dogs tennis
    surfboard snowboard train trains park parks sky-scraper
""")
"""Nouns that the tagger's lexicon knows first as verbs, or not at all."""

ADJECTIVES = _set("""
    giant unmade american asian chinese japanese african european indian italian mexican roman british
    english german stainless downtown grassy starry snowy sandy rainy cloudy hilly foggy siting
    multi mini semi
""")
"""Adjectives that the tagger's lexicon knows as nouns, or guesses to be."""

AFTER_DETERMINER = _set("""
    match matches bite cross crosses leaves sail sails stand stands stick sticks handle handles peel walk
    cut cover covers produce dump faces pick lean can cans set fall falls watch watches drive saw plant
    plants cook cooks swing swings dish duck ducks fly flies guide guides pet pets rail rails wave waves
    brush brushes bat bats fan fans
""")
"""Nouns after an article, adjective, number or noun and where no article follows; verbs elsewhere."""

FINAL_NOUNS = _set("""
    orange remote concrete stable olive lime lavender cream stainless
""")
"""Nouns unless a noun or adjective follows ("an orange on a plate", not "an orange cat")."""

ING_NOUNS = _set("""
    building buildings wedding weddings painting paintings ceiling ceilings clothing railing railings
    frosting icing ring rings string strings wing wings king kings spring evening morning topping toppings
    dressing pudding awning awnings siding earring earrings bedding shelving flooring lettering decking
    seating stuffing duckling ducklings swing swings sling bling crossing crossings dumpling dumplings
    offspring thing things dwelling dwellings plumbing paneling seasoning lighting gosling landing pearling
    sibling siblings nothing something everything anything
""")
"""Words in -ing that are things; every other one is a deed, except inside FIXED."""

FIXED = _groups("""
    advertising board, baking dish, baking pan, baking sheet, baseball match, bath tub, bowling alley,
    bowling ball, boxing glove, boxing gloves, brussel sprouts, bus stop, bus stops, cell phone,
    cell phones, chocolate chip, cooking pan, cream cheese, cutting board, cutting boards, dining room,
    dining rooms, dining table, dining tables, dog bed, double decker, double decker bus,
    double decker buses, drinking fountain, drinking glass, drinking glasses, dump truck, dump trucks,
    fire place, fishing boat, fishing boats, fishing pole, fishing rod, flat screen, french fries,
    french fry, fruit stand, fruit stands, frying pan, garbage can, garbage cans, gold fish, green bean,
    green beans, high chair, high heels, hot dog, hot dogs, ice cream, ironing board, landing gear,
    landing strip, living area, living room, living rooms, mixing bowl, news stand, night stand,
    night stands, olive oil, orange juice, parking garage, parking lot, parking lots, parking meter,
    parking meters, parking sign, parking space, parking spaces, petting zoo, pick up truck, pickup truck,
    playing field, polar bear, polar bears, remote control, remote controller, remote controllers,
    remote controls, rocking chair, rocking chairs, running shoes, sail boat, sail boats, sailing boat,
    sailing boats, serving dish, serving plate, serving tray, sewing machine, shopping bag, shopping bags,
    shopping cart, shopping carts, shopping center, shopping mall, silver ware, skate board, skate boards,
    skate park, skate parks, skate ramp, ski lift, ski resort, skiing equipment, sleeping bag, soccer match,
    sour cream, steering wheel, stone building, stop light, stop lights, stop sign, stop signs,
    stuffed animal, stuffed animals, stuffed bear, stuffed bears, stuffed toy, stuffed toys, swimming pool,
    swimming pools, t shirt, t shirts, teddy bear, teddy bears, tennis match, tow truck, training wheels,
    trash can, trash cans, vending machine, vending machines, walking path, warning sign, warning signs,
    washing machine, washing machines, watering can, watering hole, whipped cream, wild flower, wild flowers
""")
"""Word groups that are one noun although a word in them is tagged as none."""

S_VERBS = _set("""
    sticks rides features swings hits displays marks attempts sprays points approaches grabs jumps checks
    drives kisses photographs films surfs balances races paddles repairs rounds blurs places inspects states
    pedals pats transports accomodates fixes pins curls decorates touches guides notices chews tips grooms
    tosses changes strikes returns steadies grips chases forms sets punts presses officiates eyes props
    smiles stares talks grazes stretches works perches moves kicks flips dives walks runs rests naps waits
    pulls pushes lifts carries serves throws catches plays stands sits lays holds rolls turns performs
    crosses travels poses reaches leans sleeps eats drinks licks snuggles stops nears lands skates skies
    glides flies slides feeds pitches bats peeks peers gazes looks shows attends watches brushes cuts pets
    covers faces tops lines splits houses mans heads trains cooks snacks dines dresses
""")
"""Third-person verbs that are tagged as plural nouns: verbs right after a noun (see tagging.py for when)."""

MOSTLY_NOUNS = _set("""
    trains houses lines heads tops covers faces bats watches drinks eyes pets dresses stands crosses states
    cooks snacks pins skies props rolls sets tips marks curls forms points places cuts displays features
""")
"""Of S_VERBS, those that are verbs only where an article or possessive follows."""

PERSONS = _set("""
    man woman boy girl person people child lady guy kid men women boys girls children kids ladies guys
    gentleman toddler player players someone surfer skier skateboarder snowboarder batter catcher pitcher
    umpire couple
""")
"""A person never modifies the noun that follows: "man surf board" is two nouns."""

PLURAL_MODIFIERS = _set("""
    sports christmas tennis glass bus brass dress grass cross chess business lens gas arms access canvas
""")
"""Words in -s that do modify a following noun."""

PLURAL_ONLY = _set("""
    glasses sunglasses eyeglasses scissors pants jeans shorts tongs binoculars headphones clothes woods
    trousers pajamas pyjamas overalls goggles pliers tights leggings tweezers stairs fries cattle sheep deer
    bison series species christmas canvas gas lens atlas tennis bus plus yes has swiss news chess asparagus
    hummus cactus octopus walrus hibiscus broccoli pepperoni graffiti spaghetti doubles electronics sports
    always across perhaps texas paris thanks mens womens starbucks mercedes adidas walgreens thames wales
    downstairs upstairs crossroads headquarters barracks shears
""")
"""Words that stay as they are when the singular is formed."""

IRREGULAR = _pairs("""
    people:person persons:person men:man women:woman children:child feet:foot teeth:tooth geese:goose
    mice:mouse oxen:ox gentlemen:gentleman policemen:policeman firemen:fireman snowmen:snowman
    businessmen:businessman fishermen:fisherman knives:knife wives:wife leaves:leaf loaves:loaf
    shelves:shelf wolves:wolf calves:calf halves:half scarves:scarf thieves:thief hooves:hoof elves:elf
    bookshelves:bookshelf lenses:lens quizzes:quiz cacti:cactus cookies:cookie movies:movie brownies:brownie
    hoodies:hoodie selfies:selfie veggies:vegetable zombies:zombie birdies:birdie doggies:doggie
    smoothies:smoothie calories:calorie cellos:cello shoes:shoe toes:toe canoes:canoe horseshoes:horseshoe
    snowshoes:snowshoe tiptoes:tiptoe caches:cache axes:axe skis:ski taxis:taxi kiwis:kiwi bikinis:bikini
    zucchinis:zucchini paninis:panini wiis:wii skiis:ski gases:gas pizzas:pizza toothbrushes:toothbrush
    neckties:necktie bowties:bowtie collies:collie genies:genie pixies:pixie rookies:rookie busses:bus
    headaches:headache niches:niche quiches:quiche avalanches:avalanche
""")
"""Plurals that no suffix rule gets right."""
