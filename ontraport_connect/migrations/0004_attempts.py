from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ontraport_connect", "0003_last_used_and_actor"),
    ]

    operations = [
        migrations.CreateModel(
            name="OntraportAttempt",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False)),
                ("browser", models.CharField(max_length=64)),
                ("person", models.CharField(db_index=True, max_length=64)),
                ("values", models.TextField()),
                ("started_at", models.DateTimeField(db_index=True)),
                ("used_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.DeleteModel(
            name="OntraportUsedState",
        ),
    ]
