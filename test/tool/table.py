"""The invocations that compare.py runs: what is on the command line, on standard input and in files, what others say
before and meanwhile. {T} is a topic of the case's own, {dir} a folder of its own, {port} the broker's port."""

import dataclasses

import side

BOTH = ('quartetd', 'mosquitto')
ONLY_MOSQUITTO = ('mosquitto',)  # what quartetd does not offer


@dataclasses.dataclass(frozen=True)
class Case:
    program: str
    args: tuple
    before: tuple = ()  # messages (topic, payload, options) that are retained before it begins
    live: tuple = ()    # messages that are published once it has subscribed
    answer: tuple = ()  # (topic of the request, topic, payload, options): published when the request has come
    stdin: bytes = b''
    files: dict = dataclasses.field(default_factory=dict)
    env: dict = dataclasses.field(default_factory=dict)
    connects: bool = True    # -h and -p are put before the arguments
    has_time: bool = False   # digits of the output are times
    brokers: tuple = BOTH
    limit_s: float = side.LIMIT_S  # after which theirs is ended
    instead: tuple = None    # exit code and output of ours where it is meant to differ
    why: str = ''            # it differs

    def name(self):
        return f'{self.program} {" ".join(self.args)}'


def sub(args, *live, **more):
    return Case('sub', tuple(args.split(' ')), live=live, **more)


# One broker will do for these. JSON names the properties in the order of the wire, in which quartetd puts the expiry
# first.
def sub_format(pattern, *live, args='-C 1', brokers=('quartetd',), **more):
    return Case('sub', ('-t', '{T}/a', '-q', '2', *args.split(), '-F', pattern), live=live or (PLAIN,), brokers=brokers, **more)


def pub(args, **more):
    return Case('pub', tuple(args.split(' ')), **more)


def rr(args, **more):
    return Case('rr', tuple(args.split(' ')), **more)


def message(payload, topic='{T}/a', **more):
    return topic, payload, more


PLAIN = message(b'abcde', qos=1)
EMPTY = message(b'')
PROPERTIES = [('message_expiry', 100), ('content_type', 'text/x'), ('response_topic', 're/sp'),
              ('correlation_data', b'co"rr'), ('payload_format', 1), ('user', ('k', 'v')), ('user', ('k2', 'v"2'))]
RICH = message('hé\n"\\/\x01x'.encode(), qos=1, props=PROPERTIES)
V5 = '-C 1 -V 5'
ALL_LETTERS = '%t|%p|%q|%r|%m|%l|%A|%C|%D|%E|%F|%P|%R|%S|%x|%X|%%'

SUB = [
    sub('-t {T}/a -C 1', PLAIN),
    sub('-t {T}/a -C 1 -q 1', PLAIN),
    sub('-t {T}/a -C 1 -q 2', message(b'x', qos=2)),
    sub('-t {T}/a -C 1 -V 5', PLAIN),
    sub('-t {T}/a -C 1 -V mqttv5 -q 2', message(b'x', qos=2)),
    sub('-t {T}/a -C 1 -V mqttv311', PLAIN),
    sub('-t {T}/a -C 1 -V 311', PLAIN),
    sub('--topic {T}/a -C 1 --protocol-version mqttv5 --qos 1 --keepalive 20', PLAIN),
    sub('-t {T}/a -C 1 -v', PLAIN),
    sub('-t {T}/a -C 1 --verbose', PLAIN),
    sub('-t {T}/a -C 2 -N', PLAIN, message(b'second')),
    sub('-t {T}/a -C 2 -v -N', PLAIN, message(b'second')),
    sub('-t {T}/a -C 2', EMPTY, PLAIN),
    sub('-t {T}/a -C 2 -v', EMPTY, PLAIN),
    sub('-t {T}/a -C 2 -v -N', EMPTY, PLAIN),
    sub('-t {T}/a -C 1', message(bytes(range(256)))),
    sub('-t {T}/a -C 1 -v', message(b'line\nbreak\0nul')),
    sub('-t {T}/a -C 1', message(b'x' * 100000)),
    sub('-t {T}/a -t {T}/b -C 2 -v', PLAIN, message(b'b', '{T}/b')),
    sub('-t {T}/+ -C 2 -v', PLAIN, message(b'b', '{T}/b')),
    sub('-t {T}/# -C 2 -v', message(b'b', '{T}/b/c/d'), PLAIN),
    sub('-t {T}/# -T {T}/b -C 2 -v', message(b'b', '{T}/b'), PLAIN, message(b'c', '{T}/c')),
    sub('-t {T}/# -T {T}/b/# -T +/c -C 1 -v', message(b'b', '{T}/b'), message(b'c', '{T}/c'), PLAIN),
    sub('-t {T}/# --filter-out {T}/b -C 1 -v', message(b'b', '{T}/b'), PLAIN),
    sub('-t $share/g/{T}/a -C 1 -v', PLAIN, brokers=ONLY_MOSQUITTO),
    sub('-t {T}/é -C 1 -v', message(b'x', '{T}/é')),
    sub('-t {T}/a -E'),
    sub('-t {T}/a -t {T}/b -E -V 5'),
    sub('-t {T}/a -E -q 2 -i {T}id -c'),
    sub('-t {T}/a -E -q 2 -i {T}id -c -V 5'),
    sub('-t {T}/a -E -V 5 -x 10'),
    sub('-t {T}/a -E -V 5 -i {T}id -x -1'),
    sub('-t {T}/a -E -V 5 -i {T}id -x ∞'),
    sub('-t {T}/a -E -I pre'),
    sub('-t {T}/a -E --id-prefix pre'),
    sub('-t {T}/a -E --id {T}id'),
    sub('-t {T}/a -U {T}/b -E'),
    sub('-t {T}/a --unsubscribe {T}/b -E -V 5'),
    sub('-t {T}/a -t {T}/a -E'),
    sub('-t {T}/a -U {T}/a -E -V 5'),
    sub('-t {T}/a -U {T}/b -U {T}/b -E'),
    sub('-t {T}/a -E --nodelay'),
    sub('-t {T}/a -E -A localhost'),
    sub('-t {T}/a -C 1 -N', message(b'x' * 5_000_000), brokers=ONLY_MOSQUITTO),
    sub('-t {T}/a -C 1 -N -q 2 -V 5', message(b'x' * 5_000_000, qos=2), brokers=ONLY_MOSQUITTO),
    sub('-t {T}/a -E -A 127.0.0.1'),
    sub('-t {T}/a -E --quiet'),
    sub('-t {T}/a -E -M 10'),
    sub('-t {T}/a -E -u name'),
    sub('-t {T}/a -E -u name -P word'),
    sub('-t {T}/a -E --username name --pw word'),
    sub('-t {T}/a -W 1'),
    sub('-t {T}/a -W 1 -v', PLAIN),
    sub('-t {T}/a -W 1 -C 2', PLAIN),
    sub('-t {T}/a -W 1 -V 5 --will-topic {T}/will --will-payload gone'),
    sub('-t {T}/a -W 1 -V 5 --will-topic {T}/will --will-payload gone --will-qos 2 --will-retain'),
    sub('-t {T}/a -W 1 -V 5 --will-topic {T}/will'),
    sub('-t {T}/a -W 1 -V 5 --will-topic {T}/will -D will content-type text/w -D will user-property a b '
        '-D will response-topic r -D will correlation-data cd -D will payload-format-indicator 1'),
    sub('-t {T}/a -W 1 --will-topic {T}/will --will-payload gone'),
    sub('-t {T}/a -E -V 5 --will-topic {T}/will --will-payload gone'),
    sub('-t {T}/a -E --will-qos 1'),
    sub('-t {T}/a -C 1 -V 5 -D connect receive-maximum 5 -q 2', message(b'x', qos=2)),
    sub('-t {T}/a -C 1 -V 5 -D connect maximum-packet-size 1000', message(b'x', qos=2)),
    sub('-t {T}/a -E -V 5 -D connect user-property a b -D connect user-property a c'),
    sub('-t {T}/a -E -V 5 -D connect request-problem-information 0 -D connect request-response-information 1'),
    sub('-t {T}/a -E -V 5 -D CONNECT User-Property a b'),
    sub('-t {T}/a -E -V 5 -D connect topic-alias-maximum 10'),
    sub('-t {T}/a -E -V 5 -D connect session-expiry-interval 10'),
    sub('-t {T}/a -E -V 5 -D subscribe user-property a b'),
    sub('-t {T}/a -U {T}/b -E -V 5 --property unsubscribe user-property a b'),
    sub('-t {T}/a -E -V 5 -D disconnect user-property a b -D disconnect session-expiry-interval 0'),
    sub('-t {T}/a -C 1 -V 5 -D subscribe subscription-identifier 7 -F %S', PLAIN, brokers=ONLY_MOSQUITTO),
    sub('-t {T}/a -C 1 -V 5 -D subscribe subscription-identifier 7 -F %j', PLAIN, brokers=ONLY_MOSQUITTO),
]

RETAINED = [
    sub('-t {T}/# -C 1 -v -F %r|%t|%p', before=(message(b'old', retain=True),)),
    sub('-t {T}/# -C 1 -v -R', PLAIN, before=(message(b'old', retain=True),)),
    sub('-t {T}/# -v --retained-only', PLAIN, before=(message(b'old', retain=True),)),
    sub('-t {T}/# -v --retained-only', PLAIN),
    sub('-t {T}/# -T {T}/b -C 1 -v --remove-retained', PLAIN, before=(message(b'old', '{T}/b', retain=True),)),
    sub('-t {T}/a -C 1 -F %r -V 5 --retain-as-published', message(b'x', retain=True)),
    sub('-t {T}/a -C 1 -F %r -V 5', message(b'x', retain=True)),
    sub('-t {T}/a -C 1 -F %r', message(b'x', retain=True)),
    sub('-t {T}/a -C 1 -F %q -q 0', before=(message(b'old', retain=True, qos=2),)),
    sub('-t {T}/a -C 1 -F %q -q 2', before=(message(b'old', retain=True, qos=2),)),
]

FORMATS = [
    *(sub_format(f) for f in (
        ALL_LETTERS, '%t', '%%', '%p%%%p', 'plain', '%j', '%J',
        '%12t|%-12t|%012t|%-012t|%3.2t|%.2t|%.t|%8.t|%8.0t|%-8.2t', '%0t|%-t|%00t', '%5%|%08%',
        '%8l|%-8l|%08l|%-08l|%.2l|%8.3l', '%8q|%08q|%8r', '%8m|%08m|%-8m', '%8p|%-8p|%08p',
        '%x|%X|%.2x', '%8A|%08A|%-8A|%-08A', '%8C|%-8C|%08C|%.2C', '%8D|%8P|%8R', '%8E|%08E|%-08E',
        '%8F|%08F|%8S|%08S|%-8S', '\\\\|\\0|\\a|\\e|\\n|\\r|\\t|\\v', '@@|@%|@1|@q|@ |@t|@n', '%t\\n%p', '%%t', 'é@@é',
    )),
    *(sub_format(f, has_time=True) for f in (
        '%I', '%30I|%-30I|%.10I|%30.10I|%030I', '%U', '%20U', '@Y-@m-@d @H:@M:@S.@N @z @Z @s', '@A @b @B @a @p @P',
        '@c', '@D @F @T @R @r', '@C @e @g @G @h @j @k @l @u @U @V @w @W @x @X @y', '@E@O@+@f@i@J@K@L@o@Q@v',
    )),
    *(sub_format(f, RICH, args=V5) for f in (
        ALL_LETTERS, '%20C|%-20C|%3.3C|%020C|%.0C', '%30D|%40P', '%10E|%-10E|%010E|%.1E', '%5F|%05F|%-5F',
        '%20R|%-20R|%.2R|%5.2R|%020R', '%20p|%-20p|%020p', '%J',
    )),
    sub_format('%j', RICH, args=V5),
    sub_format('%j', RICH, args=f'{V5} --pretty'),
    sub_format('x%j|%J|%t', message(b'{"a": [1, 2]}', qos=1, props=PROPERTIES[1:]), args=f'{V5} --pretty'),
    sub_format('%j', message(b'x', props=PROPERTIES[1:5]), args=V5),
    sub_format('%j', message(b'x', props=[('user', ('a"b', 'c\\d')), ('user', ('a"b', ''))]), args=V5),
    sub_format('%j', RICH),
    sub_format(ALL_LETTERS, RICH),
    sub_format('%j', message(b'del\x7f\x1f\t\r\x08\x0c <>&\'"/\\')),
    sub_format('%j|%J|%p|%l|%x', EMPTY),
    sub_format('%j', message(b'x', qos=2)),
    sub_format('%t', PLAIN, EMPTY, args='-C 2 -N'),
    sub_format('%t', PLAIN, args='-C 1 -v'),
    sub_format('%J', message(b'no'), message(b'1'), args='-C 2'),
    sub_format('%J|%t', message(b'no'), args='-C 1 -N'),
]

JSON = [sub_format('%J', message(text.encode()), args=args) for args in ('-C 1', '-C 1 --pretty') for text in (
    '{"a":1,  "b":[1,2.50,1e3,null,true],"s":"\\u00e9é\\n\\/"}', '[[],[[]],{}]', '{"a":{"b":{}}}',
    '{"a":[{"b":1},{"c":[{}]}]}', '[true, false ,null]', '{"k\\n":1, "k\\n":2}', ' 12 ', '"tab\there"')]
JSON += [sub_format('%J', message(text.encode())) for text in (
    '12 abc', '+1', '01', '-', '1.2.3', '-0', '1e400', '1.0', '0.1', '123456789012345678', '1E-7', '1.5e300',
    '"a\\u0041\\ud83d\\ude00"', '"\\ud83d"', '"\\x"', '"\\u00"', '[1,]', '[1,,2]', '{"a":1,}', '{a:1}', '[', '{', '"', 'tru',
    'true', 'null', '\ufeff1', '2147483648', '1.7976931348623157e308', '0.30000000000000004', '1e15', '1e21',
    '123456789.125', '"\\ud800\\u0041"', '"\\udc00"', '{"a":1]', '[1}', '{"a"}', '{"a":}', '{,}', '[ ]', '{ }', '1 2', '.5',
    '"\\b\\f\\r\\t\\"\\\\"', '[' * 999 + ']' * 999)]

PUB = [
    pub('-t {T}/a -m hello'),
    pub('-t {T}/a -m hello -q 1'),
    pub('-t {T}/a -m hello -q 2'),
    pub('--topic {T}/a --message hello --qos 2 --retain'),
    pub('-t {T}/a -m hello -r'),
    pub('-t {T}/a -n'),
    pub('-t {T}/a -n -r -q 1'),
    pub('-t {T}/a --null-message'),
    pub('-t {T}/a -m é\x01'),
    Case('pub', ('-t', '{T}/a', '-m', '')),
    Case('pub', ('-t', '{T}/a', '-m', 'two words')),
    pub('-t {T}/a -f {dir}/file', files={'file': b'from\na file\0\xff'}),
    pub('-t {T}/a --file {dir}/file -q 2', files={'file': b'x' * 200000}),
    pub('-t {T}/a -f {dir}/file', files={'file': b''}),
    pub('-t {T}/a -f {dir}/file -q 1', files={'file': b'x' * 5_000_000}, brokers=ONLY_MOSQUITTO),
    pub('-t {T}/a -f /dev/null'),
    pub('-t {T}/a -f {dir}/none'),
    pub('-t {T}/a -s', stdin=b'all\nof it\n'),
    pub('-t {T}/a --stdin-file -q 1', stdin=b'all\0of it'),
    pub('-t {T}/a -s', stdin=b''),
    pub('-t {T}/a -l', stdin=b'one\ntwo\nthree\n'),
    pub('-t {T}/a -l -q 1', stdin=b'one\ntwo\nthree\n'),
    pub('-t {T}/a --stdin-line -q 2', stdin=b'one\ntwo\nthree\n'),
    pub('-t {T}/a -l', stdin=b'one\nno end'),
    pub('-t {T}/a -l', stdin=b'one\n\nthree\n'),
    pub('-t {T}/a -l', stdin=b'one\r\ntwo\r\n'),
    pub('-t {T}/a -l', stdin=b''),
    pub('-t {T}/a -l -q 1', stdin=b'x' * 70000 + b'\ny\n'),
    pub('-t {T}/a -l -q 2', stdin=b''.join(b'%d\n' % i for i in range(500))),
    pub('-t {T}/a -l -q 1 -M 1', stdin=b''.join(b'%d\n' % i for i in range(50))),
    pub('-t {T}/a -m x --repeat 3'),
    pub('-t {T}/a -m x --repeat 3 -q 1'),
    pub('-t {T}/a -m x --repeat 3 -q 2 --repeat-delay 0.1'),
    pub('-t {T}/a -f {dir}/file --repeat 2 -q 1', files={'file': b'f'}),
    pub('-t {T}/a -s --repeat 2 -q 1', stdin=b's'),
    pub('-t {T}/a -m x -i {T}id'),
    pub('-t {T}/a -m x -q 1 -i {T}id -c'),
    pub('-t {T}/a -m x -q 1 -i {T}id -c -V 5 -x 5'),
    pub('-t {T}/a -m x -I pre'),
    pub('-t {T}/a -m x -V 5'),
    pub('-t {T}/a -m x -V mqttv5 -q 2'),
    pub('-t {T}/a -m x -V mqttv311 -k 30'),
    pub('-t {T}/a -m x -V 5 -q 1 -D publish content-type text/x -D publish response-topic a/b -D publish '
        'correlation-data cd -D publish payload-format-indicator 1 -D publish message-expiry-interval 100'),
    pub('-t {T}/a -m x -V 5 -q 1 -D publish user-property a b -D publish user-property a c --property publish user-property b d'),
    pub('-t {T}/a -m x -V 5 -D connect user-property a b -D disconnect user-property a b'),
    pub('-t {T}/a -m x -V 5 -D publish topic-alias 3', brokers=ONLY_MOSQUITTO),
    pub('-t {T}/a -m x -q 1 -D PUBLISH Content-Type text/x -D Publish USER-PROPERTY a b'),
    pub('-t {T}/a -l -V 5 -D publish content-type lines', stdin=b'1\n2\n'),
    pub('-t {T}/a -m x -q 1 -D publish content-type ignored'),
    pub('-t {T}/a -m x --nodelay -M 70000'),
    pub('-t {T}/a -m x -A 127.0.0.1 --quiet'),
    pub('-t {T}/a -m x -u name -P word'),
    pub('-t {T}/a -m x --will-topic {T}/will --will-payload gone --will-qos 1 --will-retain'),
    pub('-L mqtt://127.0.0.1:{port}/{T}/a -m x', connects=False),
    pub('-L mqtt://name:word@127.0.0.1:{port}/{T}/a -m x', connects=False),
    pub('-L mqtt://name@127.0.0.1:{port}/{T}/a -m x', connects=False),
    pub('-L MQTT://127.0.0.1:{port}/{T}/a -m x', connects=False),
    pub('--url mqtt://127.0.0.1:{port}/{T}/a -m x', connects=False),
    pub('--host 127.0.0.1 --port {port} -t {T}/a -m x', connects=False),
    pub('-h localhost -p {port} -t {T}/a -m x', connects=False),
]

RR = [
    rr('-t {T}/q -e {T}/r -m ask', answer=('{T}/q', '{T}/r', b'answer', {})),
    rr('-t {T}/q -e {T}/r -m ask -v', answer=('{T}/q', '{T}/r', b'answer', {})),
    rr('-t {T}/q -e {T}/r -m ask -q 2 -F %t|%p|%q', answer=('{T}/q', '{T}/r', b'answer', {'qos': 2})),
    rr('-t {T}/q -e {T}/r -m ask -V 311 -N', answer=('{T}/q', '{T}/r', b'answer', {'qos': 1})),
    rr('-t {T}/q -e {T}/r -m ask -F %j', answer=('{T}/q', '{T}/r', b'answer', {'props': [('content_type', 'c')]})),
    rr('-t {T}/q -e {T}/r -m ask -F %D -D publish correlation-data me',
       answer=('{T}/q', '{T}/r', b'answer', {'props': [('correlation_data', b'me')]})),
    rr('-t {T}/q -e {T}/r -n', answer=('{T}/q', '{T}/r', b'answer', {})),
    rr('-t {T}/q -e {T}/r -m ask -W 5 -v', answer=('{T}/q', '{T}/r', b'', {})),
    rr('-t {T}/q -e {T}/r -m ask -W 1'),
    rr('-t {T}/a -e {T}/a -m myself -W 5'),
    rr('-t {T}/a -e {T}/a -m myself -W 5 -V mqttv311 -q 2'),
    rr('-t {T}/q -m x'),
    rr('-t {T}/q -e {T}/r'),
    rr('-e {T}/r -m x'),
    rr('-t {T}/q -e {T}/+ -m x'),
    rr('-t {T}/q/# -e {T}/r -m x'),
    rr('-t {T}/q -e {T}/r -m x -C 1'),
    rr('-t {T}/q -e {T}/r -m x -F %y'),
]

NAMES = {'sub': 'mosquitto_sub', 'pub': 'mosquitto_pub', 'rr': 'mosquitto_rr'}
CONFIG = [
    Case('sub', ('-t', '{T}/a', '-C', '1'), live=(PLAIN,), files={'.config/mosquitto_sub': b'-v\n'}),
    Case('sub', ('-C', '1'), live=(PLAIN,), files={'.config/mosquitto_sub': b'# comment\n\n-t {T}/a\n-F %p|%q\n-q 1\n'}),
    Case('sub', ('-C', '1'), live=(PLAIN,), files={'x/mosquitto_sub': b'-t {T}/a\n-F two words %p\n'},
         env={'XDG_CONFIG_HOME': '{dir}/x'}),
    Case('sub', ('-C', '1', '-t', '{T}/a'), live=(PLAIN,), files={'.config/mosquitto_sub': b'-v\n'},
         env={'XDG_CONFIG_HOME': '{dir}/x'}),
    Case('sub', ('-C', '1', '-F', '%q', '-t', '{T}/a'), live=(PLAIN,), files={'.config/mosquitto_sub': b'-F %p\n-q 1\r\n'}),
    Case('sub', ('-t', '{T}/a', '-E'), files={'.config/mosquitto_sub': b'--nosuch\n'}),
    Case('sub', ('-t', '{T}/a', '-E'), files={'.config/mosquitto_pub': b'--nosuch\n'}),
    Case('pub', ('-m', 'x'), files={'.config/mosquitto_pub': b'-t {T}/a\n-q 1\n'}),
    Case('pub', (), files={'.config/mosquitto_pub': b'-t {T}/a\n-q 1\n-m two words\n'}),
    Case('rr', ('-m', 'x', '-t', '{T}/a'), files={'.config/mosquitto_rr': b'-e {T}/a\n'}),
]


# None of them gets as far as a broker, and nobody listens at port 1 where one is not seen to be wrong.
def bad(program, *lines):
    return [Case(program, ('-p', '1', *line.split(' ')), connects=False, brokers=('quartetd',)) for line in lines]


WRONG = [
    *bad('sub', '--nosuch', '-t', '-t a -q 3', '-t a -q -1', '-t a -p 70000', '-t a -k 1', '-t a -k 70000', '-t a -k abc',
         '-t a -V 6', '-t a -c', '-t a -i x -I y', '-t a -x -5', '-t a -x abc -V 5', '-t a -x 4294967296 -V 5',
         '-t a -V 5 -x -1', '-t a -W 0', '-t a -W x', '-t a -C 0', '-t a -C x', '-t a -C -1', '-t a/#/b', '-t a+/b', '-t a -T #/a',
         '-t a -U #/a', '-U x -E', '-C 1', '-t a -R --retained-only', '-t a --random-filter 0', '-t a -D', '-t a -D connect',
         '-t a -D foo content-type x', '-t a -D connect nosuch x', '-t a -D subscribe topic-alias 5',
         '-t a -D connect user-property 5', '-t a -P x', '-t a --will-payload x', '-t a --will-retain',
         '-t a --will-topic w --will-qos 4', '-t a --will-topic w/#', '-L http://localhost/a', '-L mqtt://localhost',
         '-t a -m x', '-t a -s', '-t a -r', '-t a --repeat 3', '-t a -n', '-t a -e x', '-t a extra', '-t a -F %', '-t a -F %y',
         '-t a -F %10', '-t a -F %+t', '-t a -F %0-8t', '-t a -F %8-t', '-t a -F %.2-t', '-t a -F a@', '-t a -F \\',
         '-t a -F \\q', '-t a -F %\\n', '-t a -F %:x', '-t a -i', '-h', '-t a --unix', '-t a -S', '-t a --tls-version x'),
    *bad('pub', '-t a -m a -n', '-t a -m a -f b', '-t a -l -s', '-t a/+ -m x', '-t # -m x', '-t a -m x -q 5',
         '-t a -m x --repeat 0', '-t a -m x --repeat -1', '-t a -m x --repeat 3 --repeat-delay -1', '-t a -m x -M 0',
         '-t a -m x -C 1', '-t a -m x -F %p', '-t a -m x -T b', '-t a -m x -D publish subscription-identifier 1',
         '-t a -m x -D publish will-delay-interval 1', '-t a -m x -D publish content-type a -D publish content-type b',
         '-t a -m x -D connect receive-maximum 0', '-t a -m x -D publish message-expiry-interval -1', '-t a -m x -p 0',
         '-t a -m x -i x -I y', '-t a -m x --nosuch', '-t', '-t a -m', '-t a -f', '-t a -m x -c'),
    *bad('sub', '-p 1 -t a -E', '-h nosuchhost.invalid -t a', '-t a -E --unix /nosuch', '-t a -A 1.2.3.4 -p 1'),
    *bad('pub', '-p 1 -t a -m x', '-h nosuchhost.invalid -t a -m x', '-t a -m x --unix /nosuch'),
    *bad('rr', '-p 1 -t a -m x -e b'),
    Case('pub', ('-t', 'a', '-m', 'x', '-h', ''), connects=False, brokers=('quartetd',)),
    Case('pub', ('-t', 'a', '-m', 'x', '--unix', ''), connects=False, brokers=('quartetd',)),
    Case('pub', ('-t', 'a', '-f', ''), connects=False, brokers=('quartetd',)),
    Case('sub', ('-t', 'a', '-i', ''), connects=False, brokers=('quartetd',)),
    Case('sub', ('-t', 'a', '-p', '1', '-A', ''), connects=False, brokers=('quartetd',)),
    Case('sub', ('-t', 'a', '-p', '1', '-A', 'nosuchhost.invalid'), connects=False, brokers=('quartetd',)),
]

CASES = SUB + RETAINED + FORMATS + JSON + PUB + RR + CONFIG + WRONG

OLD = message(b'old', retain=True)
DIFFERENT = [
    sub('-t {T}/a -C 3 -q 2', message(b'1', qos=2), message(b'2', qos=0), message(b'3', qos=1), instead=(0, b'1\n2\n3\n'),
        why='theirs prints a QoS 2 message at PUBREL, after those that came later'),
    sub('-t {T}/# -C 1 -v --remove-retained', before=(OLD,), limit_s=2, instead=(0, b'TOPIC_/a old\n'),
        why='theirs removes the message but does not end'),
    sub('-t {T}/a -t {T}/c -C 2 -v --remove-retained', before=(OLD, message(b'older', '{T}/c', retain=True)), limit_s=2,
        instead=(0, b'TOPIC_/a old\nTOPIC_/c older\n'), why='the same'),
    sub('-t {T}/# -v --remove-retained --retained-only', PLAIN, before=(OLD,), limit_s=2, instead=(0, b'TOPIC_/a old\n'),
        why='the same'),
    sub_format('%10x|%2X|%3p', instead=(0, b'6162636465|6162636465|abcde\n'),
               why='a width is the least width; theirs cuts the payload to it'),
    rr('-t {T}/q -e {T}/r -f {dir}/f', files={'f': b'file'}, answer=('{T}/q', '{T}/r', b'answer', {}),
       instead=(0, b'answer\n'), why='theirs sends an empty request, seen by the observer'),
    rr('-t {T}/q -e {T}/r -s', stdin=b'input', answer=('{T}/q', '{T}/r', b'answer', {}), instead=(0, b'answer\n'),
       why='the same'),
    rr('-t {T}/q -e {T}/r -m ask -R -W 5', before=(message(b'old', '{T}/r', retain=True),),
       answer=('{T}/q', '{T}/r', b'answer', {}), instead=(0, b'answer\n'), why='theirs takes what was retained for the answer'),
    sub('-t $share/g/{T}/a -E', brokers=('quartetd',), instead=(128, b''),
        why='theirs says 0 although every subscription was denied'),
    Case('pub', ('-m', 'x', '-q', '1'), instead=(1, b''), why='theirs prints its help to standard output'),
]
