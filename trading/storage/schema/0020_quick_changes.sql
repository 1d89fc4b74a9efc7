-- Two changes of a book may begin at one position: where one of its markets stands still, the others may have gone on.
alter table book_configs drop constraint book_configs_pkey;
alter table book_configs add column id bigint generated always as identity primary key;
create index book_configs_since on book_configs (book, since, id);
