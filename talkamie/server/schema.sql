-- The whole schema, in the common subset of SQLite and PostgreSQL.
-- Ids are our own strings, sorted by time; instants are milliseconds since 1970.

create table if not exists users (
    id text primary key,
    email text not null unique,
    password_hash text not null,
    name text not null,
    name_key text not null,          -- casefolded, for keyword searches
    type text,
    gender text,
    dob text,
    bio text,
    language text,
    country text,
    state text,
    city text,
    visibility text not null,
    interests text,                  -- JSON array
    timezone_offset integer,
    picture text,                    -- JSON, as the next two
    video text,
    certificate text,
    certificate_state text,
    file_dir_path text,
    specialization text,
    licence_id text,
    max_call_count integer,
    max_call_duration integer,       -- seconds
    push_enabled integer,
    background text,                 -- how far the check is; nothing: never asked for
    background_check text,           -- what was asked, JSON
    availability_weekly text,        -- JSON, as the next
    availability_custom text,
    rating double precision not null default 0,  -- the mean of the reviews; 0 without one
    total_reviews integer not null default 0,
    coins bigint not null default 0,
    paypal text,
    deleted bigint,                  -- when the account ended: what is left is a stub
    created bigint not null
);

create table if not exists tokens (
    hash text primary key,           -- sha256: a stolen database opens no account
    session_id text not null,
    user_id text not null references users (id),
    kind text not null,              -- access | refresh
    expires bigint not null
);
create index if not exists tokens_session on tokens (session_id);

create index if not exists tokens_user on tokens (user_id);

create table if not exists otps (
    email text primary key,
    code text not null,
    status text not null,            -- issued | verified; consumed is no row
    tries integer not null,
    issued bigint not null,
    verified bigint
);

create table if not exists connections (
    id text primary key,
    low text not null,               -- the pair, ordered: low < high
    high text not null,
    from_id text not null references users (id),
    to_id text not null references users (id),
    status text not null,
    alert_id text,                   -- the alert that told the receiver
    created bigint not null,
    updated bigint not null
);
create unique index if not exists connections_live on connections (low, high)
    where status in ('pending', 'accepted');
create index if not exists connections_from on connections (from_id, status, id);
create index if not exists connections_to on connections (to_id, status, id);

create table if not exists chats (
    id text primary key,
    low text not null,
    high text not null,
    type text not null,              -- connect | message: how it came about
    last_message_id text,
    request_id text,
    request_status text not null,    -- accepted: both may send
    request_text text,
    request_at bigint,
    request_sender text,
    request_message_id text,
    request_alert_id text,
    created bigint not null,
    unique (low, high)
);

create table if not exists members (
    chat_id text not null references chats (id),
    user_id text not null references users (id),
    other_id text not null references users (id),
    unread integer not null,
    last_at bigint not null,
    primary key (chat_id, user_id)
);
create index if not exists members_user on members (user_id, last_at, chat_id);
create index if not exists members_unread on members (user_id) where unread > 0;

create table if not exists messages (
    id text primary key,
    chat_id text not null references chats (id),
    sender_id text not null,
    receiver_id text not null,
    type text not null,
    text text,
    schedule_id text,
    is_request integer not null,
    status text not null,            -- sent, delivered, read: never backwards
    status_at bigint not null,
    created bigint not null
);
create index if not exists messages_chat on messages (chat_id, id);
create index if not exists messages_waiting on messages (receiver_id) where status = 'sent';

create table if not exists alerts (
    id text primary key,
    user_id text not null references users (id),
    status text,                     -- read, or nothing
    payload text not null,           -- the alert as it was pushed, JSON
    created bigint not null
);
create index if not exists alerts_user on alerts (user_id, id);
create index if not exists alerts_unread on alerts (user_id) where status is null;

create table if not exists schedules (
    id text primary key,
    chat_id text not null references chats (id),
    low text not null,
    high text not null,
    type text not null,
    title text not null,
    title_key text not null,
    from_at bigint not null,
    to_at bigint not null,
    recurrence text not null,
    created bigint not null
);
create index if not exists schedules_low on schedules (low, from_at);
create index if not exists schedules_high on schedules (high, from_at);

create table if not exists reviews (
    id text primary key,
    rater_id text not null references users (id),
    user_id text not null references users (id),
    rate double precision not null,
    text text,
    created bigint not null,
    unique (rater_id, user_id)
);
create index if not exists reviews_user on reviews (user_id, id);

create table if not exists calls (
    id text primary key,
    chat_id text not null references chats (id),
    caller_id text not null references users (id),
    callee_id text not null references users (id),
    type text not null,
    status text not null,            -- ringing, accepted, rejected, missed
    accepted bigint,
    caller_up integer not null default 0,   -- whether a side has its media
    callee_up integer not null default 0,
    up_since bigint,                 -- while either side has
    talked bigint not null default 0,       -- milliseconds before that
    ended bigint,                    -- nothing: going on
    created bigint not null
);
create index if not exists calls_caller on calls (caller_id, id);
create index if not exists calls_callee on calls (callee_id, id);
create index if not exists calls_ringing on calls (created) where status = 'ringing';

-- Who is in a call: the key makes it one at a time.
create table if not exists busy (
    user_id text primary key references users (id),
    call_id text not null
);
create index if not exists busy_call on busy (call_id);

-- Beyond the first documentation.

create table if not exists files (
    id text primary key,
    user_id text not null references users (id),
    object_type text not null,
    mime_type text not null,
    token_hash text not null,        -- of who may upload it
    expires bigint not null,
    size bigint,                     -- nothing: not uploaded yet
    created bigint not null
);

create table if not exists transactions (
    id text primary key,
    user_id text not null references users (id),
    type text not null,              -- purchase, earning, withdrawal
    intent text not null,
    status text not null,            -- pending, complete
    coins bigint not null,           -- a coin is a cent
    payment text unique,             -- the hash of its payment session, while it can be paid
    created bigint not null
);
create index if not exists transactions_user on transactions (user_id, type, id);

create table if not exists tickets (
    id text primary key,
    user_id text not null references users (id),
    status text not null,            -- open, closed
    created bigint not null
);
create unique index if not exists tickets_open on tickets (user_id) where status = 'open';

create table if not exists support_messages (
    id text primary key,
    ticket_id text not null references tickets (id),
    sender_id text not null,         -- the user, or `support`
    text text not null,
    status text not null,
    status_at bigint not null,
    created bigint not null
);
create index if not exists support_messages_ticket on support_messages (ticket_id, id);
